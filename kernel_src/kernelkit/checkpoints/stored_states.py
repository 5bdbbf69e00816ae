"""The sets of weights inside what a training code saved.

There may be several: plain and averaged ones, or those of a loss that has weights of its own.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kernelkit.checkpoints.snapshots import says_averaged
from kernelkit.errors import CheckpointError, listed

__all__ = ["Stored", "refuse_odd_tensors", "states_in"]

# The keys under which training codes save the weights, the most specific first.
_STATE_KEYS = ("model_state", "model_state_dict", "state_dict", "model")
# Keys below which there are tensors, but no network.
_NO_STATES = re.compile(
    r"optim|opt_state|scheduler|scaler|loops|rng|averaging_state", re.IGNORECASE
)
# Lightning keeps the plain weights here if it averages. Then its "state_dict" is the average.
_LIGHTNINGS_PLAIN = "current_model_state"
# How deep below the file's first level a state may lie, as in Lightning's callbacks.
_MOST_LEVELS = 4
# Endings of what is finite in a network that answers. Masks of attention may be infinite.
_FINITE = ("weight", "bias", "running_mean", "running_var")
# How many names an error lists.
_SHOWN = 6


@dataclass(frozen=True)
class Stored:
    """One set of weights in a checkpoint.

    Attributes
    ----------
    key
        Where it lies in the file, such as `state_dict`. It is empty at the first level.
    state
        Its tensors by name, on the CPU.
    is_averaged
        Whether the file says that they are averaged over training steps.
    """

    key: str
    state: dict[str, Tensor]
    is_averaged: bool


def states_in(content: Any, path: Path) -> list[Stored]:
    """Every set of weights inside what a training code saved, the likeliest first.

    Raises
    ------
    CheckpointError
        There is none.
    """
    averages = isinstance(content, Mapping) and _LIGHTNINGS_PLAIN in content
    states = [
        Stored(".".join(keys), tensors, says_averaged(".".join(keys)) or "n_averaged" in tensors)
        for keys, tensors in _below(content, ())
    ]
    if averages:
        states = [replace(s, is_averaged=True) if s.key == "state_dict" else s for s in states]
    if states:
        return states
    raise CheckpointError(
        f"{path}: no weights were found in it (it has {_keys(content)}). Save a state dict, or one "
        f"under a key {', '.join(_STATE_KEYS)}"
    )


def _below(
    content: Any, keys: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    """Iterate over the mappings that hold tensors, those under the usual keys first."""
    if not isinstance(content, Mapping) or len(keys) > _MOST_LEVELS:
        return
    children = {
        str(key): value
        for key, value in content.items()
        if isinstance(value, Mapping) and not _NO_STATES.search(str(key))
    }
    usual = [key for key in _STATE_KEYS if key in children]
    for key in usual:
        yield from _below(children.pop(key), (*keys, key))
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if tensors:
        yield keys, tensors
    for key, child in children.items():
        yield from _below(child, (*keys, key))


def _keys(content: Any) -> str:
    if not isinstance(content, Mapping):
        return "no keys"
    return f"the keys {listed([str(key)[:80] for key in content], _SHOWN)}"


def refuse_odd_tensors(state: Mapping[str, Tensor], path: Path) -> None:
    """Refuse tensors that hold no plain numbers: sparse, quantised, or without data.

    Raises
    ------
    CheckpointError
        There is such a tensor, or one that is not a number, as after a training that diverged. Or
        weights or statistics are infinite, as if they were saved in float16.
    """
    for name, tensor in state.items():
        if tensor.is_meta:
            kind = "a tensor without data (meta)"
        elif tensor.is_nested or tensor.layout != torch.strided:
            kind = "a sparse tensor"
        elif tensor.is_quantized:
            kind = "a quantised tensor"
        else:
            continue
        raise CheckpointError(
            f"{path}: found {kind} as {name}, wanted plain numbers. Save the network's state dict "
            "on the CPU"
        )
    odd = {
        name: tensor
        for name, tensor in state.items()
        if tensor.is_floating_point() and not tensor.isfinite().all()
    }
    bad = [name for name, tensor in odd.items() if tensor.isnan().any()]
    if bad:
        raise CheckpointError(
            f"{path}: {len(bad)} of {len(state)} weights are not numbers (NaN), such as {bad[0]}. "
            "The training diverged, so take an earlier checkpoint"
        )
    infinite = [name for name in odd if name.endswith(_FINITE)]
    if infinite:
        raise CheckpointError(
            f"{path}: {len(infinite)} of {len(state)} weights are infinite, such as {infinite[0]}. "
            "Float16 overflows above 65504, so save them in float32, or take an earlier checkpoint"
        )
