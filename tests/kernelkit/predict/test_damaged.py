"""Damaged images in a run: they cost the pixels that are damaged, and the report says so."""

from pathlib import Path

import numpy as np
import pytest
import rasterio

from kernelkit.competition import CompetitionFolder
from kernelkit.predict import Prediction, load_models, predict
from kernelkit.recipe import Recipe
from kernelkit.slide.tiff import read_pages
from tests.made.competition import RECIPE, write_models
from tests.made.layouts import picture

BLOCK = {"tiled": True, "blockxsize": 128, "blockysize": 128, "interleave": "pixel"}
CODECS = {"lzw": {}, "jpeg": {"photometric": "YCBCR"}}


def run(folder: Path, codec: str, foreground: bool, damaged: bool) -> Prediction:
    """Predict an image of nine blocks, of which the fifth may be damaged."""
    path = folder / "in/test/a.tif"
    path.parent.mkdir(parents=True)
    profile = {"driver": "GTiff", "height": 384, "width": 384, "count": 3, "dtype": "uint8"}
    with rasterio.open(path, "w", **profile, compress=codec, **BLOCK, **CODECS[codec]) as file:
        file.write(picture(3, 384, 384))
    if damaged:
        [page], _ = read_pages(path)
        start, size = int(page.offsets.read()[4]), int(page.sizes.read()[4])
        content = bytearray(path.read_bytes())
        content[start + size // 2 : start + size] = bytes(size - size // 2)
        path.write_bytes(content)
    (folder / "in/sample_submission.csv").write_text("id,predicted\na,\n")
    rule = {"rule": "saturation", "above": 1, "scale": 4, "fraction": 0} if foreground else None
    recipe = Recipe.parse(RECIPE).override(foreground=rule, tiles={"core": 128, "pad": 0})
    models = load_models(recipe, write_models(folder / "models"))
    competition = CompetitionFolder.read(folder / "in", recipe.competition)
    return predict(competition, recipe, models, folder / "out")


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("foreground", [False, True])
def test_a_damaged_block_costs_its_own_pixels(tmp_path: Path, codec: str, foreground: bool) -> None:
    """It is background. The other pixels are those of the whole file, under a rule as well."""
    done = run(tmp_path / "damaged", codec, foreground, damaged=True)
    [report] = done.report.images
    assert report.status == "predicted"
    assert "1 block(s) cannot be decoded" in report.notes[-1]
    assert (len(report.notes) == 2) == foreground
    assert not foreground or "the foreground rule could not be applied" in report.notes[0]
    [whole] = run(tmp_path / "whole", codec, foreground, damaged=False).masks["a"]
    expected = whole.to_array()
    expected[128:256, 128:256] = 0
    np.testing.assert_array_equal(done.masks["a"][0].to_array(), expected)
