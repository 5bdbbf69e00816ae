"""The foreground test: which tiles are worth reading."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from kernelkit.errors import GridError
from kernelkit.grid import TileGrid
from kernelkit.reader.foreground import foreground_mask, foreground_tiles, tiles_in_mask
from kernelkit.recipe import ForegroundRule
from kernelkit.slide import Slide
from tests.made.layouts import picture, write

SATURATION = ForegroundRule(rule="saturation")


def test_saturation_is_opencvs() -> None:
    """The mask equals thresholding OpenCV's HSV, up to its rounding at the threshold."""
    pixels = picture(3, 200, 300)
    saturation = cv2.cvtColor(np.ascontiguousarray(pixels.transpose(1, 2, 0)), cv2.COLOR_RGB2HSV)[
        ..., 1
    ].astype(int)
    mask = foreground_mask(pixels, SATURATION)
    certain = abs(saturation - 40) > 1
    assert np.array_equal(mask[certain], (saturation > 40)[certain])
    assert mask.any()
    assert not mask.all()


def test_grey_leaves_out_black_and_white() -> None:
    """Only what lies between the two values is foreground."""
    pixels = np.stack([np.array([[0, 5, 100, 200, 250]], np.uint8)] * 3)
    rule = ForegroundRule(rule="grey", above=10, below=205)
    assert foreground_mask(pixels, rule).tolist() == [[False, False, True, True, False]]


@pytest.mark.parametrize("layout", ["tiled", "pyramid"])
def test_only_tiles_on_tissue_are_read(tmp_path: Path, layout: str) -> None:
    """White glass is skipped, with or without overviews in the file."""
    image = np.full((3, 700, 900), 235, np.uint8)
    image[:, 300:420, 500:640] = np.array([180, 60, 120], np.uint8)[:, np.newaxis, np.newaxis]
    grid = TileGrid(700, 900, core=100, pad=20)
    with Slide(write(tmp_path / "image.tif", image, layout)) as slide:
        kept = foreground_tiles(slide, grid, SATURATION)
        assert foreground_tiles(slide, grid, None) == list(range(len(grid)))
    tissue = (image[0] == 180).astype(np.uint8)
    near = cv2.dilate(tissue, np.ones((33, 33)))  # within a pixel of the thumbnail
    assert {t.index for t in grid if tissue[t.core.slices].mean() > 0.1} <= set(kept)
    assert set(kept) <= {t.index for t in grid if near[t.core.slices].any()}


def test_another_mask_may_have_any_resolution() -> None:
    """A tile is kept if more than the fraction of its core lies in the mask."""
    grid = TileGrid(1000, 1000, core=250, pad=50)
    mask = np.zeros((40, 80), bool)
    mask[:10, :20] = True  # the first core, exactly
    mask[30:35, 60:80] = True  # the upper half of the last
    assert tiles_in_mask(mask, grid) == [0, 15]
    assert tiles_in_mask(mask, grid, 0.5) == [0]


def test_a_mask_of_another_shape_is_refused() -> None:
    """The error names the shape that was found."""
    with pytest.raises(GridError, match=r"found a mask of shape \(1, 5, 5\)"):
        tiles_in_mask(np.ones((1, 5, 5), bool), TileGrid(10, 10, 5))
