"""BitMask: packing, pasting, set operations, thumbnails, files."""

import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelkit import errors
from kernelkit.errors import MaskError
from kernelkit.mask import BitMask, bits
from tests.made.masks import BORDERS, binary_images

PACKAGE = Path(errors.__file__).parent


def assert_tail_is_clear(mask: BitMask) -> None:
    assert not (mask.words[:, -1] & ~bits.tail_mask(mask.width)).any()


@given(binary_images())
def test_an_array_comes_back_from_its_mask(image: np.ndarray) -> None:
    """Packing and unpacking changes nothing, and bits past the last column are 0."""
    mask = BitMask.from_array(image)
    assert np.array_equal(mask.to_array(), image)
    assert mask.shape == image.shape
    assert_tail_is_clear(mask)


@given(binary_images(), st.booleans(), st.sampled_from([1, -1, 2, -3]), st.sampled_from([1, -1, 2]))
def test_any_strides_are_read(image: np.ndarray, turned: bool, down: int, across: int) -> None:
    """Columns-first, reversed and thinned-out arrays give the mask of what they show."""
    view = (np.asfortranarray(image) if turned else image)[::down, ::across]
    assert np.array_equal(BitMask.from_array(view).to_array(), view)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16", "int32", "int64", "float32"])
def test_what_is_not_zero_is_on(dtype: str) -> None:
    """Without a threshold every pixel that is not 0 is on, whatever the type."""
    values = np.array([[0, 1, 0, 2, 255, 0]]).astype(dtype)
    assert BitMask.from_array(values).to_array().tolist() == [[0, 1, 0, 1, 1, 0]]


@given(
    st.sampled_from(["uint8", "int16", "float16", "float32", "float64"]),
    st.floats(-2, 300, width=16),
    st.integers(0, 2**32 - 1),
)
def test_a_threshold_is_compared_in_the_arrays_own_type(
    dtype: str, threshold: float, seed: int
) -> None:
    """Pixels above the threshold are on. Infinity is."""
    rng = np.random.default_rng(seed)
    values = (rng.random((5, 70)) * 300 - (0 if dtype == "uint8" else 20)).astype(dtype)
    if values.dtype.kind == "f":
        values.flat[:3] = np.inf, -np.inf, threshold
        values.flat[3] = np.nextafter(values.dtype.type(threshold), np.inf, dtype=dtype)
    expected = values.astype(np.float64) > threshold
    assert np.array_equal(BitMask.from_array(values, threshold).to_array(), expected)


@given(binary_images(), binary_images(), st.data())
def test_a_patch_overwrites_its_window_only(
    image: np.ndarray, other: np.ndarray, data: st.DataObject
) -> None:
    """Pasting at any position gives what numpy's assignment gives, and cropping reads it back."""
    patch = other[: image.shape[0], : image.shape[1]]
    row = data.draw(st.integers(0, image.shape[0] - patch.shape[0]))
    col = data.draw(st.integers(0, image.shape[1] - patch.shape[1]))
    mask = BitMask.from_array(image)
    mask.paste(row, col, patch)
    expected = image.copy()
    expected[row : row + patch.shape[0], col : col + patch.shape[1]] = patch
    assert np.array_equal(mask.to_array(), expected)
    assert_tail_is_clear(mask)
    assert np.array_equal(mask.crop(row, col, *patch.shape).to_array(), patch)


@pytest.mark.parametrize("window", [(-1, 0, 2, 2), (0, 9, 2, 2), (9, 0, 2, 2), (0, 0, 0, 5)])
def test_a_window_outside_the_mask_is_refused(window: tuple[int, ...]) -> None:
    """A crop outside of the mask, or an empty one, is refused with both places and sizes."""
    with pytest.raises(MaskError, match=r"does not lie inside the mask of 10 x 10"):
        BitMask.zeros(10, 10).crop(*window)


def test_a_band_of_rows_is_a_view() -> None:
    """What is pasted into a band of rows is in its mask too."""
    mask = BitMask.zeros(10, 70)
    mask.rows(4, 6).paste(1, 65, np.ones((1, 5)))
    assert np.argwhere(mask.to_array()).tolist() == [[5, column] for column in range(65, 70)]


def test_bands_of_equal_height_are_views() -> None:
    """They are the array's, from the top. What is written to one is written to the mask."""
    pixels = np.random.default_rng(0).random((12, 70)) < 0.5
    mask = BitMask.from_array(pixels)
    bands = mask.split(3)
    assert all(
        np.array_equal(band.to_array(), part)
        for band, part in zip(bands, np.split(pixels, 3), strict=True)
    )
    bands[1].words[:] = 0
    assert mask.rows(4, 8).area == 0


@pytest.mark.parametrize("count", [0, 5, 13, 2.0])
def test_a_mask_is_split_evenly_or_not_at_all(count: int) -> None:
    """A count that does not divide the height is refused."""
    with pytest.raises(MaskError, match="bands"):
        BitMask.zeros(12, 70).split(count)


@given(binary_images(), st.integers(0, 2**32 - 1))
def test_set_operations_are_numpys(image: np.ndarray, seed: int) -> None:
    """Or, and, exclusive or, not, area, Dice and IoU are those of the unpacked arrays."""
    other = (np.random.default_rng(seed).random(image.shape) < 0.5).astype(np.uint8)
    a, b = BitMask.from_array(image), BitMask.from_array(other)
    for result, expected in (
        (a | b, image | other),
        (a & b, image & other),
        (a ^ b, image ^ other),
        (~a, 1 - image),
    ):
        assert np.array_equal(result.to_array(), expected)
        assert_tail_is_clear(result)
    both, total = int((image & other).sum()), int(image.sum()) + int(other.sum())
    assert a.area == image.sum()
    assert a.dice(b) == (2 * both / total if total else 1.0)
    assert a.iou(b) == (both / (total - both) if total else 1.0)


def test_two_empty_masks_agree() -> None:
    """Dice and IoU of two empty masks are 1, as competitions score an empty truth."""
    empty = BitMask.zeros(3, 5)
    assert empty.dice(empty.copy()) == empty.iou(empty.copy()) == 1.0


def test_masks_of_different_sizes_do_not_combine() -> None:
    """Combining masks of different sizes names both sizes."""
    with pytest.raises(MaskError, match="3 x 5 pixels was combined with one of 3 x 6"):
        BitMask.zeros(3, 5) | BitMask.zeros(3, 6)


def test_equality_is_of_pixels_and_size() -> None:
    """Masks are equal if all pixels and the size are. A width within one word counts too."""
    image = np.eye(5)
    assert BitMask.from_array(image) == BitMask.from_array(image)
    assert BitMask.from_array(image) != BitMask.zeros(5, 5)
    assert BitMask.zeros(5, 5) != BitMask.zeros(5, 6)
    assert BitMask.zeros(5, 5) != "a string"


@given(binary_images(), st.integers(1, 130))
def test_a_thumbnail_is_the_mean_coverage(image: np.ndarray, scale: int) -> None:
    """Each pixel of a thumbnail is the mean of its block. Border blocks may be smaller."""
    blocks = [np.arange(0, side, scale) for side in image.shape]
    ons, ones = (
        np.add.reduceat(np.add.reduceat(counted, blocks[0], axis=0), blocks[1], axis=1)
        for counted in (image.astype(int), np.ones(image.shape, int))
    )
    expected = ons / ones
    thumbnail = BitMask.from_array(image).thumbnail(scale)
    assert thumbnail.dtype == np.float32
    np.testing.assert_allclose(thumbnail, expected, rtol=1e-6)


@pytest.mark.parametrize("width", BORDERS)
def test_masks_travel_by_pickle_and_file(width: int, tmp_path: Path) -> None:
    """A mask is the same after pickling, and after being saved and loaded."""
    mask = BitMask.from_array(np.random.default_rng(0).random((9, width)) < 0.5)
    assert pickle.loads(pickle.dumps(mask)) == mask
    mask.save(tmp_path / "one.mask")
    assert BitMask.load(tmp_path / "one.mask") == mask
    assert [path.name for path in tmp_path.iterdir()] == ["one.mask"]


def test_a_saved_mask_opens_in_plain_numpy(tmp_path: Path) -> None:
    """The file is a .npz of words and width, and far smaller than the bits."""
    mask = BitMask.zeros(4000, 4000)
    mask.paste(1000, 1000, np.ones((500, 500), bool))
    mask.save(tmp_path / "mask.npz")
    assert np.array_equal(np.load(tmp_path / "mask.npz")["words"], mask.words)
    assert (tmp_path / "mask.npz").stat().st_size < mask.words.nbytes / 50


@pytest.mark.parametrize("damage", ["missing", "empty", "text", "cut off", "other array", "tail"])
def test_a_damaged_file_is_named(damage: str, tmp_path: Path) -> None:
    """Loading anything but a whole saved mask raises one error with the file's name."""
    path = tmp_path / "broken.npz"
    BitMask.from_array(np.random.default_rng(0).random((99, 99)) < 0.5).save(path)
    if damage == "missing":
        path.unlink()
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "text":
        path.write_text("id,rle\n")
    elif damage == "cut off":
        path.write_bytes(path.read_bytes()[:700])
    elif damage == "other array":
        np.savez(path, words=np.zeros((3, 3)), width=np.int64(99))
    else:
        np.savez(path, words=np.full((3, 2), 2**64 - 1, np.uint64), width=np.int64(99))
    with pytest.raises(MaskError, match=re.escape(str(path))):
        BitMask.load(path)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (-1, 3)])
def test_a_mask_needs_a_pixel(shape: tuple[int, int]) -> None:
    """A mask without pixels is refused."""
    with pytest.raises(MaskError, match="at least one pixel"):
        BitMask.zeros(*shape)


def test_words_must_fit_the_width() -> None:
    """Words of another type or number than the width needs are refused."""
    with pytest.raises(MaskError, match="uint64"):
        BitMask(np.zeros((3, 2)), 100)
    with pytest.raises(MaskError, match="It needs 2"):
        BitMask(np.zeros((3, 3), np.uint64), 100)


def test_an_array_of_three_dimensions_is_refused() -> None:
    """Making a mask of a picture names the picture's shape."""
    with pytest.raises(MaskError, match=r"\(4, 4, 3\)"):
        BitMask.from_array(np.zeros((4, 4, 3)))


# Everything that is done to masks, on a large one, and by how many megabytes memory grew.
LARGE = """
import re
import numpy as np
from pathlib import Path
from kernelkit.mask import BitMask

def kilobytes(field):
    return int(re.search(field + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

def work(mask):
    text = mask.to_rle()
    assert BitMask.from_rle(text, mask.shape) == mask
    assert len(mask.components()) == len(mask.remove_small(5).components()) == 20
    mask.fill_holes(10), mask.thumbnail(64), mask.to_coco(), mask.dice(mask)

def mask_of(side):
    mask = BitMask.zeros(side, side)
    for i in range(20):
        mask.paste(i * side // 20, 50 + i, np.ones((20, 20), bool))
    return mask

work(mask_of(500))
mask = mask_of(16000)
before = kilobytes("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
work(mask)
print((kilobytes("VmHWM") - before) / 1024)
"""


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
def test_no_path_makes_a_byte_a_pixel() -> None:
    """Everything done to a mask of 256 million pixels, 32 MB, peaks below 100 MB more."""
    done = subprocess.run(
        [sys.executable, "-c", LARGE],
        env={"PYTHONPATH": str(PACKAGE.parent), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 100


NO_CACHE = """
import numpy as np
from kernelkit.mask import rle
from kernelkit.mask import rle_encode
assert rle_encode(np.ones((3, 3))) == "1 9"
print(getattr(rle._write_runs._cache, "cache_path", None))
"""


def run_copy(package: Path, home: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", NO_CACHE],
        env={"PYTHONPATH": str(package.parent), "HOME": str(home), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def unwritable_package(tmp_path: Path) -> Path:
    """A copy of the package beside which no cache can be written, not even by root."""
    package = tmp_path / "kernelkit"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in (package, package / "mask"):
        (folder / "__pycache__").write_text("in the way")
    return package


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_read_only_package_keeps_its_cache_in_the_home(
    unwritable_package: Path, tmp_path: Path
) -> None:
    """If nothing can be written beside the source, as on Kaggle, the user's cache serves."""
    home = tmp_path / "home"
    home.mkdir()
    assert run_copy(unwritable_package, home).startswith(str(home))
    assert list(home.rglob("*.nbi"))


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_package_works_without_any_cache(unwritable_package: Path) -> None:
    """If no cache can be written at all, functions are compiled in each process."""
    assert run_copy(unwritable_package, Path("/dev/null")) == "None"


@pytest.mark.slow
@settings(max_examples=5)
@given(st.integers(0, 2**32 - 1))
def test_threads_change_nothing(seed: int) -> None:
    """A mask large enough for threads gives the same text, components and masks as numpy does."""
    rng = np.random.default_rng(seed)
    image = np.zeros((6000, 6000), np.uint8)  # more than the pixels that are worth threads
    for row, col, height, width in rng.integers(0, 6000, (40, 4)):
        image[row : row + height // 9, col : col + width // 9] ^= 1
    mask = BitMask.from_array(image)
    assert mask.area == image.sum()
    ends = np.flatnonzero(np.diff(image.T.ravel(), prepend=0, append=0).astype(bool))
    expected = np.stack([ends[::2] + 1, ends[1::2] - ends[::2]], axis=1).ravel()
    text = mask.to_rle()
    assert text == " ".join(map(str, expected.tolist()))
    assert BitMask.from_rle(text, mask.shape) == mask
    assert mask.remove_small(1) == mask
    assert mask.components().areas.sum() == mask.area
