"""What a function of the user's own computes, told apart for the store."""

import functools
import json
import threading

import numpy as np
import pytest
import torch
from torch import nn

from kernelkit.ensemble.own_function import identity_of
from kernelkit.errors import RecipeError


def minus(mean):
    """A function whose source is the same for each mean."""
    return lambda tiles: tiles.float() - mean


class Divided:
    """An object that is called."""

    def __init__(self, by):
        self.by = by

    def __call__(self, tiles):
        return tiles / self.by


class Convolved(nn.Module):
    """A network with weights of a seed."""

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.layer = nn.Conv2d(3, 3, 1)

    def forward(self, tiles):
        return self.layer(tiles.float())


def typed(text, **names):
    """A function that has no source, as one that was typed at a prompt."""
    exec(f"made = {text}", names)
    return names["made"]


SCALE = 3


def scaled(tiles):
    """It reads a name of its module, and so does a function within it."""
    return [tile / SCALE for tile in tiles]


PAIRS = {
    "a closure": (minus(1), minus(2)),
    "an array in a closure": (minus(np.float32([1, 2])), minus(np.float32([1, 3]))),
    "a type of numbers": (minus(np.float32(1)), minus(np.float64(1))),
    "a function in a closure": (minus(minus(1)), minus(minus(2))),
    "a partial": (functools.partial(torch.mul, other=2), functools.partial(torch.mul, other=3)),
    "what a partial calls": (
        functools.partial(torch.mul, other=2),
        functools.partial(torch.div, other=2),
    ),
    "an attribute": (Divided(2), Divided(3)),
    "a method of an object": (Divided(2).__call__, Divided(3).__call__),
    "weights": (Convolved(1), Convolved(2)),
    "what is typed": (typed("lambda tiles: tiles / 2"), typed("lambda tiles: tiles / 3")),
    "a function in what is typed": (
        typed("lambda tiles: [tile / 2 for tile in tiles]"),
        typed("lambda tiles: [tile / 3 for tile in tiles]"),
    ),
    "a name of what is typed": (typed("lambda x: x / by", by=2), typed("lambda x: x / by", by=3)),
    "a default": (typed("lambda x, by=2: x / by"), typed("lambda x, by=3: x / by")),
    "a function of numpy": (np.sqrt, np.exp),
    "a function of torch": (torch.sqrt, torch.exp),
    "a method of torch": (torch.Tensor.float, torch.Tensor.half),
    "a method of a table": ({1: 2}.get, {1: 3}.get),
    "a set": (minus({1, 2}), minus({1, 3})),
}


@pytest.mark.parametrize(("one", "other"), PAIRS.values(), ids=PAIRS)
def test_functions_that_compute_something_else_are_told_apart(one, other):
    """Each is what it is, whoever asks, and not the other."""
    assert json.dumps(identity_of(one)) == json.dumps(identity_of(one))
    assert identity_of(one) != identity_of(other)


def test_a_name_of_the_module_counts(monkeypatch):
    """A constant of the module that a function reads is a part of it."""
    before = identity_of(scaled)
    monkeypatch.setitem(scaled.__globals__, "SCALE", 4)
    assert identity_of(scaled) != before


def test_what_is_made_anew_is_the_same():
    """The same source and the same values are the same function, in another process too."""
    for made in (
        lambda: minus(1),
        lambda: Divided(2),
        lambda: Convolved(3),
        lambda: minus({"a", "b"}),
    ):
        assert identity_of(made()) == identity_of(made())


def test_a_function_may_call_itself():
    """What a function is a part of ends there."""

    def halved(tiles, times=3):
        return halved(tiles / 2, times - 1) if times else tiles

    assert json.dumps(identity_of(halved))


def test_an_object_without_an_identity_is_refused():
    """A lock has no values that could be compared in another run."""
    with pytest.raises(RecipeError, match="an object of type lock, and nobody can tell"):
        identity_of(minus(threading.Lock()))
