"""Arrays in blocks: any window of them, inside of the image and beyond."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelkit.errors import OutputError
from kernelkit.grid import Window
from kernelkit.training.cuts.blocks import BlockArray
from kernelkit.training.cuts.image import CutImage
from kernelkit.training.cuts.packs import PackWriter, Record
from kernelkit.vocabulary import Fill

MODES = {"zero": "constant", "reflect": "reflect", "edge": "edge"}


def stored(folder: Path, pixels: np.ndarray, block: tuple[int, int]) -> BlockArray:
    """Write an array (C, H, W) in blocks, cut by numpy."""
    bands, height, width = pixels.shape
    rows, columns = -(-height // block[0]), -(-width // block[1])
    padded = np.zeros((bands, rows * block[0], columns * block[1]), pixels.dtype)
    padded[:, :height, :width] = pixels
    parts = padded.reshape(bands, rows, block[0], columns, block[1]).transpose(1, 3, 0, 2, 4)
    with PackWriter(folder) as writer:
        array = writer.begin(pixels.shape, pixels.dtype, block)
        writer.write(array, 0, parts.reshape(-1, bands, *block))
        writer.add(Record("key", {"pixels": array}))
        [record] = writer.finish()
    return record.arrays["pixels"]


@settings(max_examples=80)
@given(data=st.data())
def test_windows_equal_slices_of_a_padded_array(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever blocks, size, dtype and fill, a window is what numpy's pad and slices give."""
    height, width = data.draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    block = data.draw(st.tuples(st.integers(1, 17), st.integers(1, 17)))
    dtype = data.draw(st.sampled_from(["uint8", "uint16", "int16", "float32"]))
    fill: Fill = data.draw(st.sampled_from(["zero", "reflect", "edge"]))
    row, col = data.draw(st.tuples(st.integers(-30, 60), st.integers(-30, 60)))
    window = Window(row, col, data.draw(st.integers(1, 50)), data.draw(st.integers(1, 50)))
    pixels = np.random.default_rng(1).integers(0, 99, (2, height, width)).astype(dtype)
    place = stored(tmp_path_factory.mktemp("blocks"), pixels, block)
    image = CutImage("a", "", fill, {}, place, place)
    pads = ((0, 0), (120, 120), (120, 120))
    padded = np.pad(pixels, pads, MODES[fill])  # type: ignore[call-overload]
    rows, columns = Window(row + 120, col + 120, window.height, window.width).slices
    found = image.read_pixels(window)
    assert found.dtype == dtype
    assert np.array_equal(found, padded[:, rows, columns])


def test_an_image_pickles_as_where_it_lies(tmp_path: Path) -> None:
    """A process that gets it reads the same, and few bytes go there."""
    pixels = np.random.default_rng(0).integers(0, 255, (3, 300, 200)).astype(np.uint8)
    place = stored(tmp_path, pixels, (64, 64))
    image = CutImage("a", "", "zero", {"source": [300, 200]}, place, place)
    image.read_pixels(image.bounds)
    sent = pickle.dumps(image)
    assert len(sent) < 1000
    assert np.array_equal(pickle.loads(sent).read_pixels(image.bounds), pixels)


def test_a_file_that_became_shorter_is_one_sentence(tmp_path: Path) -> None:
    """It is said before memory beyond the file's end is touched, which would kill the process."""
    place = stored(tmp_path, np.ones((1, 64, 64), np.uint8), (32, 32))
    with place.path.open("r+b") as file:
        file.truncate(100)
    with pytest.raises(OutputError, match="found 100 bytes, wanted 4096. Remove the file"):
        place.read(Window(0, 0, 8, 8))
