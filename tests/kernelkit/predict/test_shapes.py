"""Competitions of other shapes: a row per class, a class of many, a file per band."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import rasterio

from kernelkit.competition import CompetitionFolder
from kernelkit.mask import BitMask
from kernelkit.predict import Prediction, load_models, predict
from kernelkit.recipe import Recipe
from tests.made.competition import NETWORK, RECIPE, write_models
from tests.made.layouts import picture, write

SIZE = (70, 90)


def run(folder: Path, recipe: Recipe, network: dict[str, Any]) -> Prediction:
    models = load_models(recipe, write_models(folder / "models", network))
    competition = CompetitionFolder.read(folder / "in", recipe.competition)
    return predict(competition, recipe, models, folder / "out")


def test_each_class_has_its_own_row(tmp_path: Path) -> None:
    """Four rows per image, in the sample's order, hold the four classes of the network."""
    names = ["Fish", "Flower", "Gravel", "Sugar"]
    recipe = Recipe.parse(RECIPE).override(
        competition={
            "images": "test_images/{image}.png",
            "classes": names,
            "rows": "{image}.jpg_{class}",
            "id_column": "Image_Label",
            "rle_column": "EncodedPixels",
        }
    )
    ids = [f"{image}.jpg_{name}" for name in reversed(names) for image in ("b", "a")]
    for number, image in enumerate("ab"):
        path = tmp_path / f"in/test_images/{image}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = {"count": 3, "height": SIZE[0], "width": SIZE[1], "dtype": "uint8"}
        with rasterio.open(path, "w", driver="PNG", **shape) as file:
            file.write(picture(3, *SIZE, seed=number))
    sample = pd.DataFrame({"Image_Label": ids, "EncodedPixels": ""})
    sample.to_csv(tmp_path / "in/sample_submission.csv", index=False)

    done = run(tmp_path, recipe, NETWORK | {"classes": 4})
    table = pd.read_csv(done.submission, dtype=str, keep_default_na=False)
    assert list(table["Image_Label"]) == ids
    rows = dict(zip(ids, table["EncodedPixels"], strict=True))
    for image in ("a", "b"):
        masks = done.masks[image]
        assert len(masks) == 4
        for name, mask in zip(names, masks, strict=True):
            assert BitMask.from_rle(rows[f"{image}.jpg_{name}"], SIZE) == mask
        assert len({mask.to_rle() for mask in masks}) > 1
    assert [image.image for image in done.report.images] == ["b", "a"]


def test_a_minimum_area_per_class_is_that_of_the_class(tmp_path: Path) -> None:
    """A list in a step goes by the number of the class, also if only some are submitted."""
    (tmp_path / "in/test").mkdir(parents=True)
    write(tmp_path / "in/test/a.tif", picture(3, *SIZE), "tiled")
    steps = [{"remove_small": {"min_area": [1, 10**6]}}]
    ensemble = Recipe.parse(RECIPE).ensembles[0].model_dump() | {"postprocess": steps}
    competition = {"classes": ["x", "y"], "rows": "{image}_{class}", "submitted": [1, 0]}
    recipe = Recipe.parse(RECIPE).override(competition=competition, ensembles=[ensemble])
    done = run(tmp_path, recipe, NETWORK | {"classes": 2})
    areas = [mask.area for mask in done.masks["a"]]
    assert areas[0] == 0
    assert areas[1] > 0


def test_one_class_of_a_softmax_is_submitted(tmp_path: Path) -> None:
    """The row holds class number 1, and of two classes each pixel has one."""
    (tmp_path / "in/test").mkdir(parents=True)
    write(tmp_path / "in/test/a.tif", picture(3, *SIZE), "tiled")
    masks = []
    for number in (0, 1):
        ensemble = Recipe.parse(RECIPE).ensembles[0].model_dump() | {"activation": "softmax"}
        recipe = Recipe.parse(RECIPE).override(
            competition={"submitted": [number]}, ensembles=[ensemble]
        )
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "in").symlink_to(tmp_path / "in")
        done = run(folder, recipe, NETWORK | {"classes": 2})
        masks.append(done.masks["a"][0])
    assert (masks[0] & masks[1]).area == 0
    assert (masks[0] | masks[1]).area == SIZE[0] * SIZE[1]


@pytest.mark.parametrize("missing", [False, True])
def test_two_files_are_the_bands_of_one_image(tmp_path: Path, missing: bool) -> None:
    """Radar pairs are predicted as images of two bands. A pair that lacks a file falls back."""
    for image in ("1", "2"):
        for number, band in enumerate(("vh", "vv")):
            path = tmp_path / f"in/test/mosul/S1_{image}_{band}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, picture(1, *SIZE, seed=number), "tiled")
    if missing:
        (tmp_path / "in/test/mosul/S1_2_vv.tif").unlink()
    two_bands = "{bands: 2}, input: {bands: [1, 2], mean: [0.5, 0.5], std: [0.2, 0.2]}"
    recipe = Recipe.parse(RECIPE.replace("{bands: 3}", two_bands)).override(
        competition={"images": "test/{group}/*_{image}_{band}.tif", "bands": ["vh", "vv"]},
    )
    done = run(tmp_path, recipe, NETWORK | {"in_channels": 2})
    assert done.masks["1"][0].shape == SIZE
    assert [path.name for path in done.images["1"]] == ["S1_1_vh.tif", "S1_1_vv.tif"]
    statuses = {image.image: image.status for image in done.report.images}
    assert statuses == {"1": "predicted", "2": "fallback" if missing else "predicted"}
    if missing:
        assert "the file of its band vv is missing" in done.report.fallbacks[0].notes[-1]
