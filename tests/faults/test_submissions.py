"""Faults of stores and submissions: what a recipe may say of them, and what refuses it."""

from typing import Any

import pytest
import yaml

from kernelkit.errors import RecipeError
from kernelkit.recipe import Recipe

FLAT = {"merge": {"members": "mean of probabilities"}}
GATE = {"gate": {"runs": ["nmc-*"]}}
TILES = {"core": 192, "pad": 32, "scale": 2}


def pictures(submissions: Any = None, store: Any = None, **ensemble: Any) -> dict[str, Any]:
    """A recipe of whole pictures."""
    return {
        "name": "small",
        "competition": {"slug": "a-competition"},
        "tiles": "whole",
        "ensembles": [{"name": "one"} | ensemble],
        **({} if submissions is None else {"submissions": submissions}),
        **({} if store is None else {"store": store}),
    }


def slides(submissions: Any = None, store: Any = None, **ensemble: Any) -> dict[str, Any]:
    """A recipe of tiles, read at half of the size."""
    return pictures(submissions, store, **ensemble) | {"tiles": TILES}


# A fault: what it is called, what is written, and a part of the sentence that refuses it.
RECIPES: list[tuple[str, dict[str, Any], str]] = [
    ("a misspelt key of the store", pictures(store={"waht": "masks"}), "Did you mean what?"),
    ("a kind that is none", pictures(store={"what": "bits"}), "what: Input should be 'masks' or"),
    ("a level that is none", pictures(store={"level": "fold"}), "level: Input should be 'member'"),
    ("a place that is none", pictures(store={"at": "home"}), "at: Input should be 'network' or"),
    ("a store of a word", pictures(store="masks"), "store: wanted keys with values"),
    (
        "masks with a level",
        pictures(store={"what": "masks", "level": "member"}),
        "found level: member with masks, which are decided already",
    ),
    (
        "masks at a size",
        pictures(store={"what": "masks", "at": "size"}),
        "found at: size with masks, which are decided already",
    ),
    (
        "models of a flat merge",
        pictures(store={"level": "model"}, **FLAT),
        "found store.level: model, but one merges all members at once",
    ),
    (
        "tiles at the network's size that are enlarged one by one",
        slides(store={"what": "probabilities", "at": "network"}),
        "Write at: size, or change stitching.upsample",
    ),
    (
        "bands of tiles at the image's size",
        slides(store={"what": "probabilities", "at": "size"}) | {"stitching": {"upsample": "band"}},
        "Write at: network, or change stitching.upsample",
    ),
    ("submissions as a list", pictures(["all"]), "submissions: wanted keys with values"),
    (
        "a submission of a word",
        pictures({"all": "fpn"}),
        "submissions.all: wanted keys with values",
    ),
    (
        "a misspelt key of a submission",
        pictures({"all": {"rusn": ["a"]}}),
        "the key submissions.all.rusn does not exist. Did you mean runs?",
    ),
    (
        "a misspelt key of a submission that is called like a key",
        pictures({"runs": {"trehsholds": 0.5}}),
        "the key submissions.runs.trehsholds does not exist. Did you mean thresholds?",
    ),
    ("a name with a folder", pictures({"../a": {}}), "found '../a', which becomes the name of a"),
    ("a hidden name", pictures({".a": {}}), "found '.a', which becomes the name of a file"),
    ("an empty name", pictures({"": {}}), "found '', which becomes the name of a file"),
    ("a name with a space", pictures({"a b": {}}), "found 'a b', which becomes the name of a file"),
    ("a number as a name", pictures({1: {}}), "found 1, which becomes the name of a file"),
    ("a name of a page", pictures({"a" * 81: {}}), "which becomes the name of a file"),
    ("names that differ by case", pictures({"fpn": {}, "FPN": {}}), "found fpn and FPN, which are"),
    ("a gate that is on", pictures({"a": {"gate": "on"}}, **GATE), "gate: Input should be 'off'"),
    ("a gate of false", pictures({"a": {"gate": False}}, **GATE), "a truth value as gate"),
    ("no gate to be off", pictures({"a": {"gate": "off"}}), "gate: off, but one has no gate"),
    ("no gate to be a mask", pictures({"a": {"mask": "gate"}}), "mask: gate, but one has no gate"),
    (
        "a gate as a mask, and off",
        pictures({"a": {"mask": "gate", "gate": "off"}}, **GATE),
        "found mask: gate with gate, which it does not use",
    ),
    (
        "a gate as a mask, with runs",
        pictures({"a": {"mask": "gate", "runs": ["b"], "thresholds": 0.5}}, **GATE),
        "found mask: gate with runs, thresholds, which it does not use",
    ),
    (
        "a gate of tiles that is off",
        slides({"a": {"gate": "off"}}, **GATE),
        "found submissions.a.gate: off with tiles, which are found empty one by one",
    ),
    (
        "runs of merged probabilities",
        pictures({"a": {"runs": ["unet*"]}}, {"level": "ensemble"}),
        "found submissions.a.runs, but store.level is ensemble",
    ),
    (
        "thresholds of masks",
        pictures({"a": {"thresholds": 0.7}}, {"what": "masks"}),
        "found submissions.a.thresholds, but store.what is masks",
    ),
    ("a threshold of 1", pictures({"a": {"thresholds": 1}}), "thresholds.0: Input should be less"),
    ("runs of a bare word", pictures({"a": {"runs": "unet*"}}), "runs: wanted a list, such as"),
    ("runs with a fold", pictures({"a": {"runs": ["unet/fold_0"]}}), "which no run's name can"),
]


@pytest.mark.parametrize(
    ("content", "wanted"), [pytest.param(text, wanted, id=name) for name, text, wanted in RECIPES]
)
def test_a_recipe_that_contradicts_itself_is_refused(content: Any, wanted: str) -> None:
    """Each is one sentence with the key, before anything is read."""
    with pytest.raises(RecipeError) as caught:
        Recipe.parse(yaml.safe_dump(content, sort_keys=False), "some.yaml")
    message = str(caught.value)
    assert wanted in message
    assert message.startswith("some.yaml: ")
    assert "\n" not in message
    assert not message.endswith(".")
