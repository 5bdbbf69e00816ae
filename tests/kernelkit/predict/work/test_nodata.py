"""Pixels without data, and blocks that cannot be decoded, are background."""

from pathlib import Path

import numpy as np
import pytest
import rasterio

from kernelkit.errors import SlideError
from kernelkit.grid import Window
from kernelkit.mask import BitMask
from kernelkit.predict.work.nodata import clear
from kernelkit.reader.missing import empty_pixels, empty_pixels_note, undecodable_pixels
from kernelkit.slide import Slide


def write(path: Path, pixels: np.ndarray, **options: object) -> Path:
    bands, height, width = pixels.shape
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=bands,
        height=height,
        width=width,
        dtype=pixels.dtype,
        **options,
    ) as file:
        file.write(pixels)
    return path


def all_on(height: int, width: int) -> BitMask:
    return ~BitMask.zeros(height, width)


@pytest.mark.parametrize("value", [np.nan, np.inf, -9999.0])
def test_values_that_are_none_are_turned_off(tmp_path: Path, value: float) -> None:
    """NaN, infinity and the declared value leave the mask, and only they."""
    pixels = np.ones((1, 300, 200), np.float32)
    pixels[0, 40:60, 30:70] = value
    mask = all_on(300, 200)
    with Slide(write(tmp_path / "a.tif", pixels, nodata=-9999.0)) as slide:
        empty = empty_pixels(slide)
    clear([mask], empty)
    (note,) = empty_pixels_note(empty)
    assert note == "800 pixel(s) hold no data. They are background"
    assert np.array_equal(mask.to_array() == 0, ~(pixels[0] == 1))


def test_an_image_that_lacks_nothing_is_not_read(tmp_path: Path) -> None:
    """Its mask stays, and nothing is said."""
    pixels = np.ones((3, 30, 20), np.uint8)
    mask = all_on(30, 20)
    with Slide(write(tmp_path / "a.tif", pixels)) as slide:
        empty = empty_pixels(slide)
    clear([mask], empty)
    assert empty_pixels_note(empty) == []
    assert mask == all_on(30, 20)


def test_undecodable_blocks_are_turned_off(tmp_path: Path) -> None:
    """The windows are background in every class, however they overlap."""
    masks = [all_on(100, 100), all_on(100, 100)]
    with Slide(write(tmp_path / "a.tif", np.ones((1, 100, 100), np.uint8))) as slide:
        windows = [Window(0, 0, 50, 50), Window(25, 25, 50, 50)]
        unread, (note,) = undecodable_pixels(slide, windows)
    clear(masks, unread)
    assert masks[0] == masks[1]
    assert masks[0].area == 10000 - 2 * 2500 + 625
    assert note.startswith("2 block(s) cannot be decoded. They are 43.8% of the image")


def test_an_image_of_which_nothing_can_be_decoded_is_refused(tmp_path: Path) -> None:
    """Its row is the fallback, not the network's answer to zeros."""
    with (
        Slide(write(tmp_path / "a.tif", np.ones((1, 60, 50), np.uint8))) as slide,
        pytest.raises(SlideError, match=r"a\.tif: not one block of it can be decoded"),
    ):
        undecodable_pixels(slide, [Window(0, 0, 60, 50)])
