"""What the stored bytes of an image depend on, and what only merges them."""

from contextlib import closing
from typing import Any

import pytest

from kernelkit.ensemble import MegaModel
from kernelkit.ensemble.replicas import Replicas
from kernelkit.predict.store.store import Store
from kernelkit.predict.work.keys import Keys
from kernelkit.recipe import Recipe


def entry_name(models: Any, folder: Any, level: str, **ensemble: Any) -> str:
    """Where the layers of an image belong, if it is predicted by `ensemble`."""
    recipe = Recipe.model_validate(
        {
            "name": "small",
            "competition": {"slug": "a-competition"},
            "tiles": "whole",
            "ensembles": [{"name": "one", **ensemble}],
            "store": {"what": "probabilities", "level": level},
        }
    )
    model = MegaModel(models, recipe=recipe.ensembles[0])
    with closing(Store(folder)) as store:
        keys = Keys(recipe, {"one": Replicas([model])}, store)
        return keys.entry("image", "content", "one", keys.asked("one")).name


@pytest.mark.parametrize(
    ("level", "change", "is_kept"),
    [
        ("member", {"thresholds": 0.7}, True),
        ("member", {"merge": {"folds": "max of probabilities"}}, True),
        ("member", {"weights": {"unet": 3}}, True),
        ("member", {"views": "flips"}, False),
        ("model", {"merge": {"models": "max of probabilities"}}, True),
        ("model", {"merge": {"folds": "max of probabilities"}}, False),
        ("ensemble", {"merge": {"models": "max of probabilities"}}, False),
        ("ensemble", {"postprocess": ["fill_holes"]}, True),
    ],
)
def test_layers_are_kept_if_only_their_merge_changes(
    models: Any, tmp_path: Any, level: str, change: dict[str, Any], is_kept: bool
) -> None:
    """Another merge above the stored level needs no network. Below it the image is asked again."""
    folder, _ = models
    plain, changed = (
        entry_name(folder, tmp_path / "store", level, **section) for section in ({}, change)
    )
    assert (plain == changed) == is_kept
