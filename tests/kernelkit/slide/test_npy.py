"""Arrays in numpy's files, read as images."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelkit.errors import SlideError
from kernelkit.grid import Window
from kernelkit.slide import Slide

TYPES = ["?", "u1", "i1", "<u2", ">u2", "<i2", ">i4", "<u4", "<f4", ">f4", "<f8"]


@given(st.sampled_from(TYPES), st.booleans(), st.sampled_from(["2d", "first", "last"]), st.data())
def test_windows_are_numpys(
    tmp_path_factory: pytest.TempPathFactory,
    dtype: str,
    fortran: bool,
    axes: str,
    data: st.DataObject,
) -> None:
    """Whatever the type, the order of bytes and axes, a window holds the array's numbers."""
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    image = random.integers(0, 100, (1 if axes == "2d" else 3, 20, 30)).astype(dtype)
    array = {"2d": image[0], "first": image, "last": image.transpose(1, 2, 0)}[axes]
    path = tmp_path_factory.mktemp("npy") / "band & <b>.npy"
    np.save(path, np.asarray(array, order="F" if fortran else "C"))
    row, col = data.draw(st.integers(0, 19)), data.draw(st.integers(0, 29))
    height, width = data.draw(st.integers(1, 20 - row)), data.draw(st.integers(1, 30 - col))
    window = Window(row, col, height, width)
    with Slide(path) as slide:
        assert (slide.bands, slide.height, slide.width) == image.shape
        found = slide.read(window)
        assert found.dtype == np.dtype("u1" if dtype == "?" else dtype).newbyteorder("=")
        assert np.array_equal(found, image[(slice(None), *window.slices)])
        assert bool(slide.notes) == (axes != "2d")
        assert not slide.compressed


def test_arrays_and_pictures_are_bands_of_one_image(tmp_path: Path) -> None:
    """Several files are stacked in their order, and the slide survives pickling."""
    arrays = [np.full((8, 9), value, np.float32) for value in (1, 2)]
    arrays.append(np.full((8, 9, 2), 3, np.float32))
    paths = [tmp_path / f"{number}.npy" for number in range(3)]
    for path, array in zip(paths, arrays, strict=True):
        np.save(path, array)
    with pickle.loads(pickle.dumps(Slide(paths))) as slide:
        assert slide.read(slide.bounds)[:, 0, 0].tolist() == [1, 2, 3, 3]


class Trap:
    """What runs code if it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return pytest.fail, ("it was unpickled",)


ARRAYS = [
    # (name, what is saved, the right answer)
    ("a volume", np.zeros((9, 9, 9)), "found an array of shape (9, 9, 9), wanted (height, width)"),
    ("four axes", np.zeros((2, 3, 4, 5)), "found an array of shape (2, 3, 4, 5)"),
    ("one axis", np.zeros(9), "found an array of shape (9,)"),
    ("1000 bands", np.zeros((1000, 1, 1001), "u1"), "with at most 512 bands"),
    ("no pixels", np.zeros((0, 5)), "found an array of shape (0, 5)"),
    ("half floats", np.zeros((9, 9), "f2"), "found an array of float16"),
    ("64 bits", np.zeros((9, 9), "i8"), "found an array of int64, wanted whole numbers of at most"),
    ("complex numbers", np.zeros((9, 9), "c8"), "found an array of complex64"),
    ("text", np.array([["a"]]), "found an array of <U1"),
    ("objects", np.array([[Trap()]]), "found no whole array of numbers"),
]


@pytest.mark.parametrize(
    ("array", "wanted"), [row[1:] for row in ARRAYS], ids=[r[0] for r in ARRAYS]
)
def test_an_array_that_is_no_image_is_named(tmp_path: Path, array: np.ndarray, wanted: str) -> None:
    """One sentence says what was found, and nothing is unpickled."""
    path = tmp_path / "a.npy"
    np.save(path, array, allow_pickle=True)
    with pytest.raises(SlideError) as caught:
        Slide(path)
    assert wanted in str(caught.value)


@pytest.mark.parametrize("kept", [8, 20, 100, 128, 300])
def test_a_file_that_is_cut_off_is_named(tmp_path: Path, kept: int) -> None:
    """Neither half a header nor half the pixels are an image."""
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((20, 20)))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(SlideError, match="found no whole array of numbers"):
        Slide(path)
