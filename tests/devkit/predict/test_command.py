"""`make predict`: a small competition and a plain folder, and masks as files."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import rasterio
from pycocotools import mask as coco
from rasterio.transform import from_origin

from devkit.predict.__main__ import main
from devkit.predict.images import read_images
from kernelkit.recipe import Recipe
from tests.made.competition import IMAGES, RECIPE, write_competition, write_models

CORNER = from_origin(300_000, 4_000_000, 10, 10)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A competition whose image c lies on the map, two models and a recipe."""
    folder = tmp_path_factory.mktemp("place")
    write_competition(folder / "competition")
    with rasterio.open(folder / "competition" / "test" / "c.tiff", "r+") as file:
        file.transform, file.crs = CORNER, "EPSG:32638"
    write_models(folder / "models")
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder


def arguments(place: Path, output: Path, *more: str, competition: str = "competition") -> list[str]:
    where = ["--competition", str(place / competition), "--models", str(place / "models")]
    return [str(place / "recipe.yaml"), *where, "--output", str(output), *more]


def decoded(submission: Path) -> dict[str, np.ndarray]:
    """The masks of a submission, decoded by pycocotools."""
    masks = {}
    for image, text in pd.read_csv(submission, keep_default_na=False).itertuples(index=False):
        _, height, width = IMAGES[image]
        numbers = np.array(text.split(), int).reshape(-1, 2)
        ends = np.cumsum(
            np.diff(np.append(0, np.stack([numbers[:, 0] - 1, numbers.sum(1) - 1], 1)))
        )
        runs = np.diff(np.concatenate([[0], ends, [height * width]]))
        encoded = coco.frPyObjects(
            {"counts": runs.tolist(), "size": [height, width]}, height, width
        )
        masks[image] = coco.decode(encoded)
    return masks


@pytest.mark.parametrize(
    ("form", "suffix", "on"), [("png", "png", 255), ("tiff", "tif", 255), ("geotiff", "tif", 1)]
)
def test_mask_files_hold_what_is_submitted(place: Path, form: str, suffix: str, on: int) -> None:
    """OpenCV or rasterio read from each file what pycocotools decodes of the submission."""
    output = place / "output"
    assert main(arguments(place, output, "--masks", form)) == 0
    wanted = decoded(output / "submission.csv")
    assert sum(int(mask.sum()) for mask in wanted.values()) > 100
    for image, mask in wanted.items():
        path = output / form / f"{image}.{suffix}"
        if form == "png":
            found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        else:
            with rasterio.open(path) as file:
                found = file.read(1)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, mask * on)


def test_a_geotiff_lies_where_its_image_does(place: Path) -> None:
    """The file of the image on the map has its transform and its CRS."""
    assert main(arguments(place, place / "output", "--masks", "geotiff")) == 0
    with rasterio.open(place / "output" / "geotiff" / "c.tif") as file:
        assert file.transform == CORNER
        assert file.crs.to_epsg() == 32638


def test_a_plain_folder_of_images_is_predicted(place: Path, tmp_path: Path, capsys) -> None:
    """Without a sample or the recipe's folders, each image file has the mask that it has there."""
    assert main(arguments(place, place / "output", "--masks", "png")) == 0
    shutil.copytree(place / "competition" / "test", place / "pictures", dirs_exist_ok=True)
    (place / "pictures" / "readme.txt").write_text("no image")
    capsys.readouterr()
    more = ("--masks", "png", "--json")
    assert main(arguments(place, tmp_path, *more, competition="pictures")) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["images"] == {"predicted": 3, "kept": 0, "fallback": 0}
    assert [Path(path).name for path in said["masks"]] == ["a.png", "b.png", "c.png"]
    for path in map(Path, said["masks"]):
        assert path.read_bytes() == (place / "output" / "png" / path.name).read_bytes()
    assert said["submission"] is None
    wanted = place / "output" / "submission.csv"
    assert Path(said["run_lengths"]).read_bytes() == wanted.read_bytes()
    assert not (tmp_path / "submission.csv").exists()


def test_files_of_a_plain_folder_are_named_as_in_the_competition(tmp_path: Path) -> None:
    """The last part of the recipe's pattern finds the bands of each image, and nothing votes."""
    for name in ("S1_0702_vv.tif", "S1_0702_vh.tif", "S1_0703_vh.tif"):
        (tmp_path / name).touch()
    recipe, images = read_images(tmp_path, Recipe.load("unosat"))
    assert [path.name for path in images.scenes["0702"].paths] == [
        "S1_0702_vh.tif",
        "S1_0702_vv.tif",
    ]
    assert images.problems == {"0703": "the file of its band vv is missing"}
    assert [row.id for row in images.rows] == ["0702", "0703"]
    assert recipe.groups is None
    assert recipe.competition.output is None


def test_files_of_several_classes_are_named_by_them(tmp_path: Path) -> None:
    """A row per class stays a row per class over a plain folder."""
    (tmp_path / "x.jpg").touch()
    _, images = read_images(tmp_path, Recipe.load("clouds"))
    assert [row.id for row in images.rows] == ["x_Fish", "x_Flower", "x_Gravel", "x_Sugar"]


def test_an_image_without_a_mask_is_a_failure_that_leaves_the_others(
    place: Path, tmp_path: Path, capsys
) -> None:
    """The exit code is 1, a sentence names the image, and the other masks are there."""
    shutil.copytree(place / "competition", tmp_path / "competition")
    (tmp_path / "competition" / "test" / "a.tiff").write_bytes(b"II*\0")
    own = arguments(place, tmp_path / "out", "--masks", "png")
    own[2] = str(tmp_path / "competition")
    assert main(own) == 1
    said = capsys.readouterr()
    assert "1 of 3 images have no mask (a). The first one's reason: " in said.err
    assert sorted(path.name for path in (tmp_path / "out" / "png").iterdir()) == ["b.png", "c.png"]
    assert pd.read_csv(tmp_path / "out" / "submission.csv")["id"].tolist() == ["a", "b", "c"]


def test_a_limit_leaves_images_out(place: Path, tmp_path: Path, capsys) -> None:
    """They are no failure, and the table shows who is left out."""
    assert main(arguments(place, tmp_path, "--limit", "1", "--masks", "png")) == 0
    assert [path.name for path in (tmp_path / "png").iterdir()] == ["a.png"]
    assert "left out, since only 1 image(s) were asked for" in capsys.readouterr().out
