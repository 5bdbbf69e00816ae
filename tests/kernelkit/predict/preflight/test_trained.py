"""What run folders say about tiles, pads and classes: filled in, or held against the recipe."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from kernelkit.ensemble import MegaModel
from kernelkit.predict.preflight.trained import contradictions, with_trained
from kernelkit.predict.run import load_models
from kernelkit.recipe import Recipe
from tests.made.networks import FPN, write_run

CLASSES = {"classes": ["Fish", "Sugar"], "rows": "{image}_{class}"}


def made(
    folder: Path, tiles: Any, competition: dict[str, Any] | None = None, **said: Any
) -> tuple[Recipe, dict[str, MegaModel]]:
    """A recipe, and the models of a run whose cfg.yaml says what it was trained with."""
    network = {**FPN, "classes": 2}
    write_run(folder / "a", network, (1, 2))
    (folder / "a/cfg.yaml").write_text(yaml.safe_dump({"MODEL": network, "DATA": said}))
    recipe = Recipe.model_validate(
        {
            "name": "test",
            "competition": {"slug": "test", **CLASSES, **(competition or {})},
            "tiles": tiles,
            "ensembles": [{"name": "one"}],
        }
    )
    return recipe, load_models(recipe, folder, "cpu")


@pytest.mark.parametrize(
    ("tiles", "said", "scale"),
    [
        ({"core": 96}, {"downscale": 3}, 3),
        ({"core": 96, "scale": 3}, {"downscale": 3}, 3),
        ({"core": 96}, {"downscale": 5}, 1),
        ({"core": 96}, {"downscale": 1.5}, 1),
        ({"core": 96}, {}, 1),
    ],
)
def test_the_scale_is_that_of_the_runs_if_the_tiles_are_multiples_of_it(
    tmp_path, tiles, said, scale
):
    """If they are not, the scale stays, and the check of the scale says what is wrong."""
    recipe, models = made(tmp_path, tiles, **said)
    filled, notes = with_trained(recipe, models)
    assert filled.tiles.scale == scale
    assert len(notes) == (scale != recipe.tiles.scale)
    assert filled.fingerprint == recipe.override(tiles={"scale": scale}).fingerprint


def test_the_pad_of_whole_pictures_is_that_of_the_runs(tmp_path):
    """A note says from which file it was taken."""
    recipe, models = made(tmp_path, "whole", pad=[14, 13])
    filled, notes = with_trained(recipe, models)
    assert filled.tiles.pads == (14, 13)
    assert notes[0].endswith(
        "cfg.yaml: the pad is (14, 13). The recipe says nothing, so this is used"
    )


def test_the_pad_of_tiles_is_the_recipes_own(tmp_path):
    """What a network of whole pictures was padded by means nothing for tiles."""
    recipe, models = made(tmp_path, {"core": 96, "pad": 3}, pad=[14, 13])
    filled, _ = with_trained(recipe, models)
    assert filled.tiles.pads == (3, 3)
    assert not list(contradictions(filled, models["one"]))


def test_the_input_is_that_of_the_runs(tmp_path):
    """So the images' bands are checked against what the networks really take."""
    norm = {"mean": [0.1, 0.2, 0.3], "std": [0.1] * 3}
    recipe, models = made(tmp_path, {"core": 96}, bands=[5, 6, 7], divide=255, **norm)
    filled, _ = with_trained(recipe, models)
    assert filled.ensembles[0].input.highest_band == 7


@pytest.mark.parametrize(
    ("tiles", "competition", "said", "problem"),
    [
        ("whole", {}, {"pad": [14, 13]}, ""),
        (
            {"whole": True, "pad": 14},
            {},
            {"pad": [14, 13]},
            r"a/fold_0 was trained with the pad \[14, 13\], as .*a/cfg.yaml says, but the recipe's "
            r"tiles have \[14, 14\]",
        ),
        ("whole", {}, {"classes": ["fish", "sugar"]}, ""),
        ("whole", {}, {"classes": ["Fish"]}, ""),
        ("whole", {"classes": ["Sugar"], "submitted": [1]}, {"classes": ["Fish", "Sugar"]}, ""),
        (
            "whole",
            {},
            {"classes": ["Sugar", "Fish"]},
            "was trained with class number 0 as Sugar, as .*a/cfg.yaml says, .* have Fish there",
        ),
        (
            "whole",
            {"classes": ["Sugar"], "submitted": [0]},
            {"class_names": ["Fish", "Sugar"]},
            "class number 0 as Fish, .* have Sugar there. Correct 'classes' or 'submitted'",
        ),
    ],
)
def test_what_both_say_must_agree(tmp_path, tiles, competition, said, problem):
    """Classes in another order would be a plausible file of wrong rows."""
    recipe, models = made(tmp_path, tiles, competition, **said)
    filled, _ = with_trained(recipe, models)
    found = list(contradictions(filled, models["one"]))
    assert len(found) == bool(problem)
    assert re.search(problem, "".join(found))
