"""What `make look` says about images before there are models."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rasterio
import tifffile
from affine import Affine

from devkit.training.look import main
from devkit.training.pixel_size import pixel_size
from kernelkit.slide import Slide
from tests.made.layouts import picture

RECIPE = """
name: looked
competition: {slug: looked, images: test}
tiles: {core: 128, pad: 32, scale: 2}
ensembles: [{name: one}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two slides of colours, one of them grey in three bands, and two that cannot be read."""
    (tmp_path / "test").mkdir()
    colours = picture(3, 300, 400, seed=1)
    colours[:, :150] = 255  # glass
    tifffile.imwrite(tmp_path / "test/a.tiff", colours.transpose(1, 2, 0), tile=(128, 128))
    grey = np.stack([picture(1, 210, 200, seed=2)[0]] * 3, axis=-1)
    tifffile.imwrite(tmp_path / "test/b.tiff", grey, photometric="rgb", compression="zlib")
    (tmp_path / "test/cut.tiff").write_bytes((tmp_path / "test/a.tiff").read_bytes()[:5000])
    (tmp_path / "test/empty.tiff").touch()
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return tmp_path


def looked(folder: Path, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    arguments = ["--competition", str(folder), "--workers", "0", "--json", *more]
    assert main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def test_each_image_is_measured(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Size, bands, equal bands, blank share and speed come from the pixels themselves."""
    found = looked(folder, capsys, "--recipe", str(folder / "recipe.yaml"))
    a, b = found["images"]
    assert (a["image"], a["height"], a["width"], a["bands"], a["dtype"]) == (
        *("a", 300, 400),
        *(3, "uint8"),
    )
    assert (a["equal_bands"], b["equal_bands"]) == (False, True)
    assert a["blank"] == pytest.approx(0.5, abs=0.03), "the upper half is glass"
    assert "DEFLATE" in b["layout"]
    assert (a["pixels_read"], b["pixels_read"]) == (300 * 400, 210 * 200)
    assert min(a["mpx_per_second"], b["mpx_per_second"]) > 0
    assert found["total"]["megapixels"] == pytest.approx(0.162)


def test_the_projection_is_that_of_four_cores(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What one process read in a time takes a quarter of it on Kaggle's four cores."""
    arguments = ["--competition", str(folder), "--workers", "1", "--json"]
    assert main([*arguments, "--recipe", str(folder / "recipe.yaml")]) == 0
    found = json.loads(capsys.readouterr().out)
    for image in found["images"]:
        here = image["height"] * image["width"] / 1e6 / image["mpx_per_second"]
        assert image["kaggle_seconds"] == pytest.approx(here / 4)
    total = sum(image["kaggle_seconds"] for image in found["images"])
    assert found["total"]["kaggle_seconds"] == pytest.approx(total)


def test_of_a_large_image_some_rows_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The time for a slide does not grow with it, and the whole slide is projected."""
    (tmp_path / "test").mkdir()
    with tifffile.TiffWriter(tmp_path / "test/a.tiff") as file:
        rows = np.full((512, 12_000), 7, np.uint8)
        tiles = (rows for _ in range(24))
        file.write(tiles, shape=(24 * 512, 12_000), dtype=np.uint8, rowsperstrip=512)
    found = looked(tmp_path, capsys)["images"][0]
    assert 40e6 < found["pixels_read"] < 90e6
    seconds = 24 * 512 * 12_000 / 1e6 / found["mpx_per_second"] / 4
    assert found["kaggle_seconds"] == pytest.approx(seconds)


def test_unreadable_images_are_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They cost no other image, and the table says why each cannot be read."""
    assert main(["--competition", str(folder), "--recipe", str(folder / "recipe.yaml")]) == 0
    said = capsys.readouterr().out
    assert "2 images cannot be read:" in said
    assert "empty.tiff: the file is empty. Download or copy it again" in said
    assert "cut: " in said
    assert "in tiles of 192 px at scale 2" in said
    assert "1 of them have equal bands, so one band would do" in said


def test_a_damaged_block_is_noted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An image whose header is sound, but not all of its pixels, is read as far as it goes."""
    path = folder / "test/b.tiff"
    with tifffile.TiffFile(path) as file:
        start = file.pages.first.dataoffsets[0]
    content = bytearray(path.read_bytes())
    content[start : start + 16] = b"\xff" * 16
    path.write_bytes(bytes(content))
    found = looked(folder, capsys, "--recipe", str(folder / "recipe.yaml"))
    assert "of its tiles hold damaged blocks" in found["images"][1]["notes"][0]


def test_a_picture_that_ends_too_early_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its header is sound, so only reading its pixels shows that it is cut."""
    (tmp_path / "test/images").mkdir(parents=True)
    for name in "ab":
        cv2.imwrite(str(tmp_path / f"test/images/{name}.png"), picture(1, 101, 101, seed=4)[0])
    path = tmp_path / "test/images/b.png"
    path.write_bytes(path.read_bytes()[:-3000])
    found = looked(tmp_path, capsys, "--recipe", "salt")
    assert [image["image"] for image in found["images"]] == ["a"]
    assert set(found["unreadable"]) == {"b"}


def test_the_rule_of_the_recipe_says_what_is_blank(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is no foreground is blank, and the table names the rule."""
    rule = "foreground: {rule: grey, above: 10, below: 250}\n"
    (folder / "recipe.yaml").write_text(RECIPE + rule)
    found = looked(folder, capsys, "--recipe", str(folder / "recipe.yaml"))
    assert found["images"][0]["blank"] == pytest.approx(0.5, abs=0.03)
    assert found["total"]["blank_rule"] == "outside of the recipe's foreground (grey)"


def test_without_a_recipe_all_image_files_are_looked_at(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A team that has written no recipe yet learns what lies in the folder."""
    (folder / "train").mkdir()
    cv2.imwrite(str(folder / "train/c.png"), picture(1, 50, 60, seed=3)[0])
    found = looked(folder, capsys)
    assert [image["image"] for image in found["images"]] == [
        *("test/a.tiff", "test/b.tiff"),
        "train/c.png",
    ]
    assert set(found["unreadable"]) == {"test/cut.tiff", "test/empty.tiff"}


def test_other_images_than_the_recipe_predicts(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The training images are looked at by a pattern of their own."""
    (folder / "train").mkdir()
    tifffile.imwrite(folder / "train/c.tif", picture(1, 50, 60, seed=3)[0])
    more = ["--recipe", str(folder / "recipe.yaml"), "--images", "train/{image}.tif"]
    assert [image["image"] for image in looked(folder, capsys, *more)["images"]] == ["c"]


def test_many_images_are_counted_by_kind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of many images the kinds are counted, and the odd ones are named."""
    (tmp_path / "test/images").mkdir(parents=True)
    pixels = picture(1, 101, 101, seed=4)[0]
    for number in range(60):
        cv2.imwrite(str(tmp_path / f"test/images/{number}.png"), np.stack([pixels] * 3, axis=-1))
    cv2.imwrite(str(tmp_path / "test/images/odd.png"), pixels.astype(np.uint16) * 257)
    cv2.imwrite(str(tmp_path / "test/images/wide.png"), np.ones((101, 102, 3), np.uint8))
    assert main(["--competition", str(tmp_path), "--recipe", "salt", "--workers", "0"]) == 0
    said = capsys.readouterr().out
    lines = said.splitlines()
    assert lines[1].startswith("61      101..101 x 101..102 (2 sizes)  3      uint8")
    assert "yes" in lines[1]
    assert any(line.startswith("odd: odd (1 x uint16") for line in lines)
    assert "odd: wide (101 x 102)" in lines
    assert "62 images, 0.6 Mpx, 2 sizes, 2 dtypes" in lines
    assert "read as whole pictures" in said


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}, "0.5 um"),
        ({"resolution": (72, 72), "resolutionunit": "INCH"}, ""),
        ({"description": "Aperio |AppMag = 20|MPP = 0.4990"}, "0.499 um"),
        ({"metadata": {"axes": "YX", "PhysicalSizeX": 650, "PhysicalSizeXUnit": "nm"}}, "0.65 um"),
        ({"description": "MPP = much"}, ""),
    ],
)
def test_the_pixel_size_is_what_the_file_says(
    options: dict[str, Any], wanted: str, tmp_path: Path
) -> None:
    """OME, Aperio and plain TIFF say it in their own ways, and a print's resolution is none."""
    path = tmp_path / ("a.ome.tif" if "metadata" in options else "a.tif")
    tifffile.imwrite(path, np.zeros((64, 64), np.uint8), **options)
    with Slide(path) as slide:
        assert pixel_size(slide) == wanted


def test_a_map_has_the_pixel_size_of_its_crs(tmp_path: Path) -> None:
    """A GeoTIFF of Sentinel-1 has pixels of 10 m."""
    profile = {"driver": "GTiff", "dtype": "float32", "count": 1, "height": 9, "width": 9}
    place = {"crs": "EPSG:32638", "transform": Affine(10, 0, 4e5, 0, -10, 4e6)}
    with rasterio.open(tmp_path / "a.tif", "w", **profile, **place) as file:
        file.write(np.ones((1, 9, 9), np.float32))
    with Slide(tmp_path / "a.tif") as slide:
        assert pixel_size(slide) == "10 m"


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        (None, "there is no such folder. Name the competition's folder"),
        ({}, "found no image, wanted a file that ends in .tif"),
        ({"a.png": b""}, "none of 1 images can be read. The first is a.png: "),
    ],
)
def test_a_folder_without_images_is_refused(
    files: dict[str, bytes] | None,
    wanted: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line says what is missing, and the exit code is 1."""
    folder = tmp_path / "competition"
    if files is not None:
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)
    assert main(["--competition", str(folder), "--workers", "0"]) == 1
    assert wanted in capsys.readouterr().err
