"""One threshold: the recipe given to `predict` decides, whatever the models were loaded with."""

from pathlib import Path
from typing import get_args

import pytest

from kernelkit.competition import CompetitionFolder
from kernelkit.ensemble import MegaModel
from kernelkit.mask import BitMask
from kernelkit.predict import load_models, predict
from kernelkit.recipe import Recipe
from kernelkit.vocabulary import Blend, Upsample
from tests.made.competition import RECIPE, write_competition, write_models


def with_threshold(recipe: Recipe, threshold: float) -> Recipe:
    [ensemble] = recipe.ensembles
    return recipe.override(ensembles=[ensemble.model_dump() | {"thresholds": [threshold]}])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A competition of one image."""
    images = {"a": ("tiled", 150, 201)}
    return write_competition(tmp_path_factory.mktemp("competition") / "folder", images)


@pytest.fixture(scope="module")
def loaded_for(tmp_path_factory: pytest.TempPathFactory) -> dict[float, dict[str, MegaModel]]:
    """The same models, loaded once under a threshold of 0.5 and once under 0.9."""
    models = write_models(tmp_path_factory.mktemp("models"))
    recipe = Recipe.parse(RECIPE)
    return {value: load_models(with_threshold(recipe, value), models) for value in (0.5, 0.9)}


def predicted(folder: Path, recipe: Recipe, models: dict[str, MegaModel], output: Path) -> BitMask:
    """The image's mask, which no earlier run has left in `output`."""
    done = predict(CompetitionFolder.read(folder, recipe.competition), recipe, models, output)
    assert [image.status for image in done.report.images] == ["predicted"]
    return done.masks["a"][0]


@pytest.mark.parametrize("upsample", get_args(Upsample))
@pytest.mark.parametrize("blend", get_args(Blend))
def test_the_recipe_of_the_run_decides(
    folder: Path,
    loaded_for: dict[float, dict[str, MegaModel]],
    blend: Blend,
    upsample: Upsample,
    tmp_path: Path,
) -> None:
    """Under every blend the models' own threshold does not matter, and the recipe's does."""
    recipe = Recipe.parse(RECIPE).override(
        tiles={"scale": 2}, stitching={"blend": blend, "upsample": upsample}
    )
    low, high = (with_threshold(recipe, value) for value in (0.5, 0.9))
    mask = predicted(folder, low, loaded_for[0.5], tmp_path / "one")
    assert predicted(folder, low, loaded_for[0.9], tmp_path / "other") == mask
    assert 0 < mask.area < 150 * 201
    # in the same output folder: a mask of another threshold is not taken for this one
    strict = predicted(folder, high, loaded_for[0.5], tmp_path / "one")
    assert strict.area < mask.area
    assert predicted(folder, high, loaded_for[0.9], tmp_path / "other") == strict


def test_models_know_no_threshold_in_their_fingerprint(
    loaded_for: dict[float, dict[str, MegaModel]],
) -> None:
    """A mask's key has the threshold from the recipe, and only from there."""
    assert loaded_for[0.5]["one"].fingerprint == loaded_for[0.9]["one"].fingerprint
    recipe = Recipe.parse(RECIPE)
    assert with_threshold(recipe, 0.9).fingerprint != recipe.fingerprint
