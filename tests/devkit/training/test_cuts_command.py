"""`make cuts`: its table, and windows as files for other tools."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import rasterio
import rasterio.windows
import yaml

from devkit.training import cuts as command
from devkit.training.cut_files import write_cut_files
from kernelkit.errors import OutputError
from kernelkit.grid import Window
from kernelkit.training.cuts import Cuts
from tests.made.cut_competition import CutCompetition

SIZES = {"a": (120, 150), "b": (130, 90)}


@pytest.fixture
def made(tmp_path: Path) -> CutCompetition:
    return CutCompetition(tmp_path, SIZES)


def write_recipe(made: CutCompetition, **keys: Any) -> Path:
    """Write the recipe of a run on these images, as a user would."""
    run = made.run()
    content = {
        "name": "small",
        "predicts": "predicting.yaml",
        "images": run.images,
        "labels": {"masks": "masks/{image}.png"},
        "folds": {"lists": [["a"]]},
        "windows": {"grid": {"around": "grid", "size": 16}, "objects": OBJECTS},
        "crop": {"size": 8},
        "model": {"arch": "Unet", "encoder_name": "tu-regnetx_002", "encoder_weights": None},
        "loss": {"bce": 1},
        "epochs": 1,
        "runs": {"one": {}, "two": {"epochs": 2}},
        **keys,
    }
    path = made.folder / "train.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


OBJECTS = {"around": "objects", "size": 16}


def arguments(made: CutCompetition, *others: str, **keys: Any) -> list[str]:
    recipe = write_recipe(made, **keys)
    folders = ["--competition", str(made.folder), "--cuts", str(made.cuts)]
    return [str(recipe), *folders, *others]


def test_each_source_is_a_row_of_a_table(
    made: CutCompetition, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says how many windows there are, how many are kept, and why others are not."""
    blank = [{"mean_above": 0, "windows": ["grid"]}]
    assert command.main(arguments(made, "--workers", "1", blank=blank)) == 0
    header, grid, objects, images, *_, folder = capsys.readouterr().out.splitlines()
    assert " ".join(header.split()) == "windows all kept skipped: mean above 0 target %"
    assert grid.split() == ["grid", "18", "0", "18", "-"]
    assert objects.split()[0] == "objects"
    assert objects.split()[1] == objects.split()[2]
    assert images == "2 image(s) in 1 fold(s)"
    assert folder.endswith(": the cuts of one, two")


def test_a_command_of_its_own_says_what_is_wrong(made: CutCompetition) -> None:
    """One line, and the exit code 1."""
    command = [sys.executable, "-m", "devkit.training.cuts", *arguments(made, "--run", "three")]
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert found.returncode == 1
    assert found.stderr.endswith("there is no run three. Name one of one, two\n")


def made_cuts(made: CutCompetition, **keys: Any) -> Cuts:
    windows = {"grid": {"around": "grid", "size": 16}}
    return made.make(windows=windows, **keys)


def test_png_files_hold_the_windows(made: CutCompetition, tmp_path: Path) -> None:
    """OpenCV reads the pixels and the masks of each window, and the table names its file."""
    cuts = made_cuts(made)
    write_cut_files(cuts, tmp_path / "out", "png", workers=2)
    table = pd.read_csv(tmp_path / "out/windows.csv")
    assert len(table) == len(cuts.kept)
    assert table["file"].iloc[0] == "CUTS/grid_x3_16/imgs/a/0000001.png"
    for row in table.itertuples(index=False):
        window = Window(row.row, row.col, row.height, row.width)
        pixels, labels, _ = cuts.images[row.image].read(window)
        path = tmp_path / "out" / row.file
        found = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        assert np.array_equal(found.transpose(2, 0, 1), pixels)
        mask = cv2.imread(str(path).replace("/imgs/", "/masks/"), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(mask, labels[0])


def test_splits_are_links_to_the_images_of_each_fold(made: CutCompetition, tmp_path: Path) -> None:
    """An image that validates is in `val`, the others in `train`, and nothing is copied."""
    write_cut_files(made_cuts(made), tmp_path / "out", "png")
    split = tmp_path / "out/SPLITS/grid_split/0"
    assert sorted(str(path.relative_to(split)) for path in split.glob("*/*/*")) == [
        "train/imgs/b",
        "train/masks/b",
        "val/imgs/a",
        "val/masks/a",
    ]
    assert (split / "val/imgs/a").is_symlink()
    assert (split / "val/imgs/a/0000001.png").is_file()


def test_geotiffs_lie_on_the_map(made: CutCompetition, tmp_path: Path) -> None:
    """Each has its window's transform and the CRS, as rasterio works them out."""
    transform = rasterio.Affine(10, 0, 4_000, 0, -10, 5_000)
    for name, pixels in made.pixels.items():
        values = pixels[:2].astype(np.float32) + 1
        values[:, :9, :9] = -9999 if name == "a" else 1
        made.write(name, values, crs="EPSG:32638", transform=transform, nodata=-9999)
    cuts = made_cuts(made)
    table = write_cut_files(cuts, tmp_path / "out", "geotiff")
    for row in table.itertuples(index=False):
        with rasterio.open(tmp_path / "out" / row.file) as file:
            window = rasterio.windows.Window(row.col, row.row, row.width, row.height)
            scaled = transform * rasterio.Affine.scale(3)
            assert file.transform.almost_equals(rasterio.windows.transform(window, scaled))
            assert file.crs.to_epsg() == 32638
            nodata = 0 if row.image == "a" else None  # cuts hold 0 where there is no data
            assert (file.count, file.dtypes[0], file.nodata) == (2, "float32", nodata)
            wanted = cuts.images[row.image].read_pixels(Window(row.row, row.col, 16, 16))
            assert np.array_equal(file.read(), wanted)
        mask = str(tmp_path / "out" / row.file).replace("/imgs/", "/masks/")
        with rasterio.open(mask) as file:
            assert (file.count, file.dtypes[0], file.nodata) == (1, "uint8", None)


def test_what_a_png_cannot_hold_is_said_first(made: CutCompetition, tmp_path: Path) -> None:
    """The sentence names the image, and the other form."""
    made.write("b", made.pixels["b"][:2].astype(np.float32))
    with pytest.raises(OutputError, match=r"b: found 2 band\(s\) of float32.*--files geotiff"):
        write_cut_files(made_cuts(made), tmp_path / "out", "png")
    assert not (tmp_path / "out").exists()
