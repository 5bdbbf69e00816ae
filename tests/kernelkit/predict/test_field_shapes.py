"""Competitions of the field, each with the recipe that serves it: from the folder to the file.

The recipes lie in tests/made/recipes. What is written is read by pandas, numpy and pycocotools.
"""

import base64
import json
import zlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from pycocotools import mask as coco_api
from scipy import ndimage

from kernelkit.competition import CompetitionFolder
from kernelkit.predict import Prediction, load_models, predict
from kernelkit.recipe import Recipe
from tests.made.competition import NETWORK, write_models
from tests.made.layouts import picture, write
from tests.made.prose import REPOSITORY

RECIPES = REPOSITORY / "tests/made/recipes"
SIZE = (70, 90)


def recipe_of(name: str) -> Recipe:
    return Recipe.load(RECIPES / f"{name}.yaml")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run of two folds for images of three bands."""
    return write_models(tmp_path_factory.mktemp("models"), NETWORK)


def run(folder: Path, name: str, models: Path) -> tuple[Prediction, pd.DataFrame]:
    """Predict a competition, and read what was written."""
    recipe = recipe_of(name)
    competition = CompetitionFolder.read(folder / "in", recipe.competition)
    done = predict(competition, recipe, load_models(recipe, models), folder / "out")
    return done, pd.read_csv(done.submission, dtype=str, keep_default_na=False)


def write_tif(path: Path, bands: int, dtype: str = "uint8", seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, picture(bands, *SIZE, dtype=dtype, seed=seed), "tiled")


def write_png(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), picture(3, *SIZE, seed=seed).transpose(1, 2, 0))


def write_sample(path: Path, **columns: Sequence[str] | str | int) -> None:
    pd.DataFrame(columns).to_csv(path, index=False)


def pixels_of(numbers: Sequence[str | int], order: str) -> np.ndarray:
    """The mask of starts and lengths from 1, the way the field's notebooks decode them."""
    flat = np.zeros(SIZE[0] * SIZE[1], np.uint8)
    for start, length in zip(map(int, numbers[::2]), map(int, numbers[1::2]), strict=True):
        assert not flat[start - 1 : start - 1 + length].any(), "no pixel is in two runs"
        flat[start - 1 : start - 1 + length] = 1
    return flat.reshape(SIZE, order="F" if order == "column" else "C")


def test_hubmap_vasculature(tmp_path: Path, models: Path) -> None:
    """Four columns in the sample's order. pycocotools decodes each vessel to a component."""
    for number, image in enumerate("ab"):
        write_tif(tmp_path / f"in/test/{image}.tif", 3, seed=number)
    (tmp_path / "in/test/broken.tif").write_bytes(b"II*\0")
    sample = tmp_path / "in/sample_submission.csv"
    write_sample(sample, id=["b", "broken", "a"], height=512, width=512, prediction_string="0 1 eN")
    done, table = run(tmp_path, "vasculature", models)
    assert list(table.columns) == ["id", "height", "width", "prediction_string"]
    assert table[["id", "height", "width"]].to_numpy().tolist() == [
        ["b", "70", "90"],
        ["broken", "512", "512"],
        ["a", "70", "90"],
    ]
    assert table["prediction_string"][1] == ""
    for image, field in zip(table["id"], table["prediction_string"], strict=True):
        if image == "broken":
            continue
        words = field.split(" ")
        assert {*words[0::3]} == {"0"}
        assert {*words[1::3]} == {"0.98"}
        counts = [zlib.decompress(base64.b64decode(word)) for word in words[2::3]]
        vessels = coco_api.decode([{"size": [70, 90], "counts": each} for each in counts])
        mask = done.masks[image][0].to_array()
        assert np.array_equal(vessels.sum(axis=2), mask)
        assert len(counts) == ndimage.label(mask, np.ones((3, 3)))[1]


def test_sennet(tmp_path: Path, models: Path) -> None:
    """Slices of one name in two kidneys are two images. A row holds rows of pixels, or `1 0`."""
    ids = [f"kidney_{kidney}_{number:04}" for kidney in (6, 5) for number in range(2)]
    for number, slice_id in enumerate(ids):
        kidney, name = slice_id.rsplit("_", 1)
        write_tif(tmp_path / f"in/test/{kidney}/images/{name}.tif", 1, seed=number)
    (tmp_path / "in/test/kidney_5/images/0001.tif").write_bytes(b"II*\0")
    write_sample(tmp_path / "in/sample_submission.csv", id=ids, rle="1 0")
    done, table = run(tmp_path, "sennet", models)
    assert list(table["id"]) == ids
    assert [image.image for image in done.report.images][:2] == ["kidney_6/0000", "kidney_6/0001"]
    assert table["rle"][3] == "1 0"
    for slice_id, text in list(zip(table["id"], table["rle"], strict=True))[:3]:
        kidney, name = slice_id.rsplit("_", 1)
        mask = done.masks[f"{kidney}/{name}"][0].to_array()
        assert np.array_equal(pixels_of(text.split(), "row"), mask)
    assert len(set(table["rle"])) == 4


def test_forgery(tmp_path: Path, models: Path) -> None:
    """Instances of JSON runs with a semicolon between them, in quotes as CSV wants commas."""
    for number in (1, 2):
        write_png(tmp_path / f"in/test_images/{number}.png", seed=number)
    write_sample(tmp_path / "in/sample_submission.csv", case_id=["1", "2"], annotation="authentic")
    done, table = run(tmp_path, "forgery", models)
    for image, field in zip(table["case_id"], table["annotation"], strict=True):
        mask = done.masks[image][0].to_array()
        instances = [pixels_of(json.loads(part), "column") for part in field.split(";")]
        assert np.array_equal(np.sum(instances, axis=0), mask)
        assert len(instances) == ndimage.label(mask, np.ones((3, 3)))[1]


def test_an_image_without_forgery_is_authentic(tmp_path: Path, models: Path) -> None:
    """What stands for an empty mask is the competition's word."""
    write_png(tmp_path / "in/test_images/1.png")
    recipe = recipe_of("forgery")
    steps = [{"remove_small": {"min_area": 10**6}}]
    ensemble = recipe.ensembles[0].model_dump() | {"postprocess": steps}
    recipe = recipe.override(ensembles=[ensemble])
    competition = CompetitionFolder.read(tmp_path / "in", recipe.competition)
    done = predict(competition, recipe, load_models(recipe, models), tmp_path / "out")
    assert done.submission.read_text() == "case_id,annotation\n1,authentic\n"


def test_data_science_bowl(tmp_path: Path, models: Path) -> None:
    """Each nucleus has a row with the image's id, and no two have a pixel in common."""
    for number, image in enumerate("ab"):
        write_png(tmp_path / f"in/stage1_test/{image}/images/{image}.png", seed=number)
    sample = tmp_path / "in/stage1_sample_submission.csv"
    write_sample(sample, ImageId=["b", "a"], EncodedPixels="1 1")
    done, table = run(tmp_path, "bowl", models)
    assert list(table["ImageId"].drop_duplicates()) == ["b", "a"]
    for image, rows in table.groupby("ImageId"):
        mask = done.masks[str(image)][0].to_array()
        nuclei = [pixels_of(text.split(), "column") for text in rows["EncodedPixels"]]
        assert np.array_equal(np.sum(nuclei, axis=0), mask)
        assert len(nuclei) == ndimage.label(mask, np.ones((3, 3)))[1]


def test_contrails(tmp_path: Path, models: Path) -> None:
    """Three arrays of a record's folder are one image. A record without one gets `-`."""
    for record in ("100", "101"):
        for number, band in enumerate(("11", "14", "15")):
            path = tmp_path / f"in/test/{record}/band_{band}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, picture(8, *SIZE, dtype="float32", seed=number).transpose(1, 2, 0))
    (tmp_path / "in/test/101/band_14.npy").unlink()
    sample = tmp_path / "in/sample_submission.csv"
    write_sample(sample, record_id=["101", "100"], encoded_pixels="-")
    done, table = run(tmp_path, "contrails", models)
    assert list(table["record_id"]) == ["101", "100"]
    assert table["encoded_pixels"][0] == "-"
    mask = done.masks["100"][0].to_array()
    assert np.array_equal(pixels_of(table["encoded_pixels"][1].split(), "column"), mask)


def test_masks_are_submitted_at_the_size_of_the_recipe(tmp_path: Path, models: Path) -> None:
    """A stored mask is resized before the steps and before the rows."""
    write_png(tmp_path / "in/test_images/1.png")
    recipe = recipe_of("forgery").override(competition={"size": [35, 30], "rle": {"form": "text"}})
    recipe = recipe.override(competition={"rle": {"instances": None}})
    competition = CompetitionFolder.read(tmp_path / "in", recipe.competition)
    done = predict(competition, recipe, load_models(recipe, models), tmp_path / "out")
    (mask,) = done.masks["1"]
    assert mask.shape == (35, 30)
    assert done.submission.read_text() == f"case_id,annotation\n1,{mask.to_rle()}\n"


def test_the_confidence_of_a_vessel_comes_from_stored_probabilities(
    tmp_path: Path, models: Path
) -> None:
    """If the store keeps probabilities, each vessel has its mean, which is above the threshold."""
    write_tif(tmp_path / "in/test/a.tif", 3)
    recipe = recipe_of("vasculature").override(store={"what": "probabilities"})
    competition = CompetitionFolder.read(tmp_path / "in", recipe.competition)
    done = predict(competition, recipe, load_models(recipe, models), tmp_path / "out")
    (field,) = pd.read_csv(done.submission)["prediction_string"]
    confidences = np.array(field.split(" ")[1::3], float)
    assert len(confidences) > 1
    assert len({*confidences}) > 1
    assert ((confidences > 0.5) & (confidences < 1)).all()


def test_a_parquet_sample_makes_a_parquet_submission(tmp_path: Path, models: Path) -> None:
    """The file has the sample's kind, types and order, and the same masks as a CSV file."""
    for number, image in enumerate((7, 12)):
        write_tif(tmp_path / f"in/test/{image}.tif", 3, seed=number)
    sample = pd.DataFrame({"height": 0, "id": [12, 7], "width": 0, "prediction_string": ""})
    sample.to_parquet(tmp_path / "in/sample.parquet")
    recipe = recipe_of("vasculature").override(competition={"sample": "sample.parquet"})
    competition = CompetitionFolder.read(tmp_path / "in", recipe.competition)
    done = predict(competition, recipe, load_models(recipe, models), tmp_path / "out")
    assert done.submission.name == "submission.parquet"
    table = pd.read_parquet(done.submission)
    assert dict(table.dtypes) == dict(sample.dtypes)
    assert table[["height", "id", "width"]].to_numpy().tolist() == [[70, 12, 90], [70, 7, 90]]
    sample.to_csv(tmp_path / "in/sample.csv", index=False)
    recipe = recipe_of("vasculature").override(competition={"sample": "sample.csv"})
    competition = CompetitionFolder.read(tmp_path / "in", recipe.competition)
    done = predict(competition, recipe, load_models(recipe, models), tmp_path / "out")
    assert pd.read_csv(done.submission).equals(table)
