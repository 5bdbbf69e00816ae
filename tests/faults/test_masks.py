"""Faults of masks and encodings: what is put in, and the right answer."""

import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kernelkit.canvas import Canvas
from kernelkit.canvas.probability_file import ProbabilityFile
from kernelkit.errors import GridError, KernelKitError, MaskError, OutputError
from kernelkit.grid import Tile, TileGrid
from kernelkit.mask import BitMask, rle_check, rle_encode

# What Python and numpy say, and no message of ours may.
PYTHONS_WORDS = re.compile(
    r"KeyError|TypeError|ValueError|NoneType|object has no|not subscriptable|Traceback|dtype\(|"
    r"cannot be interpreted|positional argument|inhomogeneous|not supported between|ufunc"
)

# A fault: what it is called, what meets it, and a part of the sentence that refuses it.
type Row = tuple[str, Callable[[], Any], str]


def rle(text: Any, shape: Any = (10, 10), **convention: Any) -> Callable[[], Any]:
    return lambda: BitMask.from_rle(text, shape, **convention)


def array(values: Any, threshold: Any = None) -> Callable[[], Any]:
    return lambda: BitMask.from_array(values, threshold)


def coco(encoded: Any) -> Callable[[], Any]:
    return lambda: BitMask.from_coco(encoded)


def small() -> BitMask:
    return BitMask.from_array(np.eye(5))


def grid(**changes: Any) -> TileGrid:
    return TileGrid(**({"height": 40, "width": 40, "core": 20} | changes))


def add(values: Any, blend: Any = "crop", tile: Any = None) -> Callable[[], Any]:
    """Add one tile to a canvas."""
    return lambda: Canvas(grid(), blend=blend).add(tile or grid()[0], values)


NAN = float("nan")
HALF = np.full((1, 20, 20), 0.5, np.float32)

TEXTS: list[Row] = [
    ("base 0 in base 1", rle("0 5"), "the start 0 lies before the first pixel, 1. Check the base"),
    ("negative start", rle("-5 3"), "the start -5 lies before the first pixel"),
    ("words", rle("foo bar"), "'foo' is not a whole number"),
    ("overlapping", rle("5 3 6 2"), "the start 6 lies before the end of the run before it"),
    ("unsorted", rle("9 2 1 2"), "Runs must ascend"),
    ("a lone number", rle("1"), "a start without a length"),
    ("three numbers", rle("1 2 3"), "a start without a length"),
    ("beyond int64", rle(f"{2**64} 1"), "is not a whole number of 1 to 18 digits"),
    ("a length beyond int64", rle(f"1 {2**64}"), "is not a whole number of 1 to 18 digits"),
    ("18 digits", rle(f"1 {10**18 - 1}"), "ends past the last pixel, 100"),
    ("one pixel too many", rle("1 101"), "ends past the last pixel, 100"),
    ("full-width digits", rle("１ ２"), "'１' is not a whole number"),
    ("Arabic digits", rle("٣ ٤"), "is not a whole number"),
    ("NUL", rle("1\x002 3"), r"'1\x002' is not a whole number"),
    ("half a surrogate", rle("\ud800 1"), r"'\ud800' is not a whole number"),
    ("a no-break space", rle("1\xa02"), r"'\xa02' is not a whole number"),
    ("floats", rle("1.0 2.0"), "'1.0' is not a whole number"),
    ("an exponent", rle("1e3 2"), "'1e3' is not a whole number"),
    ("commas", rle("1,2"), "'1,2' is not a whole number"),
    ("a list as text", rle("[1, 2]"), "'[1,' is not a whole number"),
    ("NULL", rle("NULL"), "'NULL' is not a whole number"),
    ("length 0", rle("5 0"), "the length 0 is not positive"),
    ("a cell of pandas", rle(NAN), "keep_default_na=False"),
    ("bytes", rle(b"1 2"), "must be a string"),
    ("a cell of pandas to check", lambda: rle_check(NAN), "keep_default_na=False"),  # type: ignore[arg-type]
    ("another competition's empty", rle("-1"), "the start -1 lies before"),
    ("an empty that is no text", rle("1 2", empty=None), "It needs a text"),
    ("an order that is none", rle("1 2", order="F"), 'The order is "column" or "row"'),
    ("one side", rle("1 2", (25,)), "a mask of size (25,) was requested. It needs two whole"),
    ("three sides", rle("1 2", (5, 5, 1)), "It needs two whole numbers, height and width"),
    ("float sides", rle("1 2", (5.0, 5.0)), "It needs two whole numbers, height and width"),
    ("text sides", rle("1 2", ("5", "5")), "It needs two whole numbers, height and width"),
    ("true sides", rle("1 2", (True, True)), "It needs two whole numbers, height and width"),
    ("no shape", rle("1 2", None), "It needs two whole numbers, height and width"),
    ("no pixels", rle("", (0, 5)), "It needs at least one pixel"),
    ("more than any memory", rle("1 2", (10**9, 10**9)), "so much memory is not free"),
    ("more than int64", rle("1 2", (10**10, 10**10)), "so much memory is not free"),
]

COCO: list[Row] = [
    ("no size", coco({"counts": b"0"}), "found the keys counts, wanted size and counts"),
    ("no counts", coco({"size": [5, 7]}), "found the keys size, wanted size and counts"),
    ("float sizes", coco({"size": [5.0, 7.0], "counts": b"0"}), "two whole numbers"),
    ("three sizes", coco({"size": [5, 7, 1], "counts": b"0"}), "two whole numbers"),
    ("a size that is text", coco({"size": "57", "counts": b"0"}), "two whole numbers"),
    ("a size without order", coco({"size": {5, 7}, "counts": b"0"}), "two whole numbers"),
    ("no size at all", coco({"size": None, "counts": b"0"}), "two whole numbers"),
    ("a list of polygons", coco([[1, 2, 3, 4, 5, 6]]), "Draw polygons with pycocotools"),
    ("nothing", coco(None), "wanted size and counts. Give one mask"),
    ("text", coco("S1"), "wanted size and counts. Give one mask"),
    ("a mask", coco(small()), "wanted size and counts. Give one mask"),
    (
        "plain counts",
        coco({"size": [5, 7], "counts": [35]}),
        "found a value of type list as counts",
    ),
    ("no counts but None", coco({"size": [5, 7], "counts": None}), "wanted compressed bytes"),
    ("a strange character", coco({"size": [5, 7], "counts": "é"}), "a character that no count has"),
    ("a surrogate", coco({"size": [5, 7], "counts": "\ud800"}), "a character that no count has"),
    ("empty counts", coco({"size": [5, 7], "counts": ""}), "its counts sum to 0 pixels"),
    ("huge", coco({"size": [10**9, 10**9], "counts": b"0"}), "its counts sum to 0 pixels"),
]

ARRAYS: list[Row] = [
    ("a single number", array(5), "It needs two dimensions, (height, width)"),
    ("a picture", array(np.zeros((5, 5, 3))), "from an array of shape (5, 5, 3)"),
    ("rows of unequal length", array([[1], [1, 2]]), "It needs an array (height, width)"),
    ("no pixels", array(np.zeros((0, 5))), "It needs at least one pixel"),
    ("NaN", array([[1.0, NAN]]), "an array with NaN, the first at (0, 1)"),
    ("NaN and a threshold", array([[0.7], [NAN]], 0.5), "an array with NaN, the first at (1, 0)"),
    ("NaN, columns first", array(np.full((2, 3), NAN).T, 0.5), "an array with NaN"),
    ("NaN in half precision", array(np.full((2, 2), NAN, np.float16), 0.5), "an array with NaN"),
    ("NaN in big-endian floats", array(np.full((2, 2), NAN, ">f4"), 0.5), "an array with NaN"),
    ("NaN to encode", lambda: rle_encode(np.full((2, 2), NAN)), "an array with NaN"),
    ("a threshold of NaN", array(np.eye(3), NAN), "a threshold was nan. It needs a finite"),
    ("an infinite threshold", array(np.eye(3), np.inf), "a threshold was inf. It needs a finite"),
    ("a threshold that is text", array(np.eye(3), "0.5"), "It needs a finite number"),
    ("a threshold per class", array(np.eye(3), [0.5, 0.5]), "It needs a finite number"),
    ("text", array(np.array([["a"]])), "It needs bool, integers or floats"),
    ("objects", array(np.array([[None, 1]])), "It needs bool, integers or floats"),
    ("complex numbers", array(np.eye(3) * 1j), "It needs bool, integers or floats"),
    ("dates", array(np.zeros((2, 2), "M8[s]")), "It needs bool, integers or floats"),
    ("fields", array(np.zeros((2, 2), [("a", "i4")])), "It needs bool, integers or floats"),
    ("masked pixels", array(np.ma.masked_array(np.eye(3))), "array.filled(0)"),
]

OPERATIONS: list[Row] = [
    ("or a number", lambda: small() | 1, "combined with a value of type int"),  # type: ignore[operator]
    ("an array or it", lambda: np.eye(5) | small(), "combined with a value of type ndarray"),
    ("Dice with an array", lambda: small().dice(np.eye(5)), "BitMask.from_array"),  # type: ignore[arg-type]
    ("IoU with nothing", lambda: small().iou(None), "BitMask.from_array"),  # type: ignore[arg-type]
    ("another size", lambda: small() & BitMask.zeros(5, 6), "Both must be of one size"),
    ("a crop at half a pixel", lambda: small().crop(0.5, 0, 1, 1), "It needs a whole number"),  # type: ignore[arg-type]
    ("rows from None", lambda: small().rows(None, 2), "It needs a whole number"),  # type: ignore[arg-type]
    ("a thumbnail at 1.5", lambda: small().thumbnail(1.5), "It needs a whole number"),  # type: ignore[arg-type]
    ("a minimum of NaN", lambda: small().remove_small(NAN), "It needs a finite number"),
    ("a minimum per class", lambda: small().remove_small([5, 6]), "It needs a finite number"),  # type: ignore[arg-type]
    ("a minimum that is text", lambda: small().remove_small("5"), "It needs a finite number"),  # type: ignore[arg-type]
    ("a negative minimum", lambda: small().remove_small(-5), "It needs at least 0"),
    ("holes of NaN pixels", lambda: small().fill_holes(NAN), "It needs a finite number"),
    ("the largest 1.5", lambda: small().keep_largest(1.5), "It needs a whole number"),  # type: ignore[arg-type]
    ("the largest -1", lambda: small().keep_largest(-1), "It needs at least 0"),
    ("components by number", lambda: small().keep_components(np.array([0])), "one bool per"),
    ("words of another type", lambda: BitMask([[1]], 5), "It needs an array of uint64 words"),  # type: ignore[arg-type]
    (
        "bits past the last column",
        lambda: BitMask(np.full((1, 1), 2**64 - 1, np.uint64), 5),
        "bits past the last column",
    ),
    ("saved into a file", lambda: small().save("/dev/null/a"), "cannot be written there"),
    ("saved under a NUL", lambda: small().save("a\0b"), "cannot be written there"),
]

CANVASES: list[Row] = [
    ("no array", add([0.5]), "tile 0 came with a value of type list"),
    ("no planes", add(HALF[0]), "Probabilities must be float32 or uint8 (1, 20, 20)"),
    ("doubles", add(HALF.astype(np.float64)), "Probabilities must be float32 or uint8"),
    ("other byte order", add(HALF.astype(">f4")), "Probabilities must be float32 or uint8"),
    ("NaN", add(np.full_like(HALF, NAN)), "no probabilities: NaN"),
    ("NaN, blended", add(np.full_like(HALF, NAN), "hann"), "no probabilities: NaN"),
    ("logits", add(HALF * 8), "Apply the sigmoid or softmax first"),
    ("an index", add(HALF, tile=3), "Take tiles from the grid that the canvas was made with"),
    ("no classes", lambda: Canvas(grid(), classes=0), "at least one class"),
    ("half a class", lambda: Canvas(grid(), classes=1.5), "at least one class"),  # type: ignore[arg-type]
    ("a threshold of NaN", lambda: Canvas(grid(), thresholds=[NAN]), "between 0 and 1"),
    ("a threshold of bytes", lambda: Canvas(grid(), thresholds=[127]), "between 0 and 1"),
    ("a bare threshold", lambda: Canvas(grid(), thresholds=0.5), "one per class"),  # type: ignore[arg-type]
    ("no grid", lambda: Canvas(None), "a canvas needs a TileGrid"),  # type: ignore[arg-type]
    ("bits that are none", lambda: Canvas(grid()).add_bits(grid()[0], None), "uint8"),  # type: ignore[arg-type]
    ("float sides", lambda: grid(height=40.0), "It needs whole numbers"),
    ("a core of NaN", lambda: grid(core=NAN), "It needs whole numbers"),
    ("text", lambda: grid(core="20"), "It needs whole numbers"),
    ("too many tiles", lambda: grid(height=10**6, width=10**6, core=1), "1000000000000 tiles"),
    (
        "probabilities in a folder",
        lambda: Canvas(grid(), probabilities="/dev"),
        "cannot be written there",
    ),
    (
        "probabilities under a NUL",
        lambda: Canvas(grid(), probabilities="a\0b"),
        "cannot be written there",
    ),
    (
        "probabilities larger than the disk",
        lambda: ProbabilityFile("x.npy", (1, 10**8, 10**8)),
        "GB are free",
    ),
]

ROWS = [
    pytest.param(meet, wanted, id=f"{area}: {name}")
    for area, rows in {
        "text": TEXTS,
        "coco": COCO,
        "array": ARRAYS,
        "operation": OPERATIONS,
        "canvas": CANVASES,
    }.items()
    for name, meet, wanted in rows
]


@pytest.mark.parametrize(("meet", "wanted"), ROWS)
def test_it_is_refused_in_one_sentence(meet: Callable[[], Any], wanted: str) -> None:
    """Each fault is an error of kernelkit's, with what was found and what to do."""
    with pytest.raises(KernelKitError) as caught:
        meet()
    message = str(caught.value)
    assert isinstance(caught.value, MaskError | GridError | OutputError)
    assert wanted in message
    assert not PYTHONS_WORDS.search(message), message
    assert not message.endswith(".")
    assert "\n" not in message
    assert len(message) < 400


ONE = np.eye(5)
BIG_ENDIAN = ONE.astype(">u2") * 300

ANSWERS: list[tuple[str, Callable[[], BitMask], int]] = [
    ("big-endian numbers", lambda: BitMask.from_array(BIG_ENDIAN), 5),
    ("big-endian numbers above", lambda: BitMask.from_array(BIG_ENDIAN, 255), 5),
    ("truth values above a half", lambda: BitMask.from_array(ONE > 0, 0.5), 5),
    ("beyond float32", lambda: BitMask.from_array(ONE.astype(np.float32), 1e300), 0),
    ("infinity is above", lambda: BitMask.from_array(np.full((1, 2), np.inf, "f2"), 1e6), 2),
    ("all above", lambda: BitMask.from_array(ONE.astype(np.uint8), -1), 25),
    ("none above", lambda: BitMask.from_array(ONE.astype(np.uint8), 1e300), 0),
    ("backwards", lambda: BitMask.from_array(ONE[::-2, ::2], 0.5), 3),
    ("one pixel many times", lambda: BitMask.from_array(np.broadcast_to(np.uint8(1), (5, 5))), 25),
    ("sides of 32 bits", lambda: BitMask.from_rle("", (np.int32(60000), np.int32(50000))), 0),
    (
        "the last pixel in 32 bits",
        lambda: BitMask.from_rle("3000000000 1", (np.int32(60000), np.int32(50000))),
        1,
    ),
    ("newlines between numbers", lambda: BitMask.from_rle("1 2\r\n5 1\n", (10, 10)), 3),
    ("unsigned sides", lambda: BitMask.from_coco({"size": np.uint32([5, 7]), "counts": "S1"}), 0),
    ("a scale beyond the mask", lambda: BitMask.from_array(small().thumbnail(10**30)), 1),
]


@pytest.mark.parametrize(
    ("make", "area"), [pytest.param(make, area, id=name) for name, make, area in ANSWERS]
)
def test_it_is_read_as_it_is_meant(make: Callable[[], BitMask], area: int) -> None:
    """What has one meaning is read, whatever its type, order of bytes or strides."""
    assert make().area == area


def npz(**arrays: Any) -> bytes:
    """A .npz file with these arrays."""
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def members(**texts: bytes) -> bytes:
    """A zip file with these members."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in texts.items():
            archive.writestr(f"{name}.npy", text)
    return file.getvalue()


def npy(header: str) -> bytes:
    """An .npy file with a header and no pixels."""
    text = header.encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def whole() -> bytes:
    return npz(words=np.ones((4, 1), np.uint64), width=np.int64(5))


def array_file() -> bytes:
    file = io.BytesIO()
    np.save(file, np.eye(3))
    return file.getvalue()


WIDTH = npy("{'descr': '<i8', 'fortran_order': False, 'shape': ()}\n") + (64).to_bytes(8, "little")
HUGE = npy("{'descr': '<u8', 'fortran_order': False, 'shape': (1099511627776, 1)}\n")

FILES: list[tuple[str, Callable[[], bytes], str]] = [
    ("empty", lambda: b"", "not a saved mask"),
    ("text", lambda: b"id,rle\n", "not a saved mask"),
    ("another kind of npz", lambda: npz(a=np.eye(3)), "not a saved mask"),
    ("an .npy", array_file, "not a saved mask"),
    ("words alone", lambda: npz(words=np.ones((4, 1), np.uint64)), "not a saved mask"),
    ("width 0", lambda: npz(words=np.ones((4, 0), np.uint64), width=0), "not a saved mask"),
    ("width -1", lambda: npz(words=np.ones((4, 1), np.uint64), width=-1), "not a saved mask"),
    ("float width", lambda: npz(words=np.ones((4, 1), np.uint64), width=5.5), "not a saved mask"),
    ("two widths", lambda: npz(words=np.ones((4, 1), np.uint64), width=[5, 5]), "not a saved"),
    ("objects", lambda: npz(words=np.array([[None]]), width=5), "not a saved mask"),
    ("no rows", lambda: npz(words=np.ones((0, 1), np.uint64), width=5), "not a saved mask"),
    ("other words", lambda: npz(words=np.ones((4, 2), np.uint64), width=5), "not a saved mask"),
    ("other type", lambda: npz(words=np.ones((4, 1)), width=5), "not a saved mask"),
    ("stray bits", lambda: npz(words=np.full((4, 1), 32, np.uint64), width=5), "past the last"),
    ("cut off", lambda: whole()[:150], "not a saved mask"),
    ("a garbled header", lambda: members(words=npy("{'descr': ("), width=WIDTH), "not a saved"),
    ("no pixels", lambda: members(words=HUGE, width=WIDTH), "a mask of 1099511627776 x 64 pixels"),
    ("zeros that inflate", lambda: members(words=b"", width=bytes(10**8)), "not a saved mask"),
]


@pytest.mark.parametrize(
    ("content", "wanted"),
    [pytest.param(content, wanted, id=name) for name, content, wanted in FILES],
)
def test_a_file_that_is_no_mask_is_named(
    content: Callable[[], bytes], wanted: str, tmp_path: Path
) -> None:
    """A file is refused with its name before memory is taken for what it declares."""
    path = tmp_path / "a.mask"
    path.write_bytes(content())
    with pytest.raises(MaskError) as caught:
        BitMask.load(path)
    assert str(path) in str(caught.value)
    assert wanted in str(caught.value)
    assert not PYTHONS_WORDS.search(str(caught.value))


def test_a_mask_of_another_size_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """Whoever knows the size says it. Then a file may not inflate to anything else."""
    path = tmp_path / "a.mask"
    small().save(path)
    assert BitMask.load(path, (5, 5)) == small()
    with pytest.raises(MaskError, match="found a mask of 5 x 5 pixels, wanted 6 x 5"):
        BitMask.load(path, (6, 5))


def test_a_folder_is_no_mask(tmp_path: Path) -> None:
    """A folder, or a file that is not there, is named."""
    with pytest.raises(MaskError, match="Is a directory"):
        BitMask.load(tmp_path)
    with pytest.raises(MaskError, match="there is no such mask"):
        BitMask.load(tmp_path / "a.mask")


def test_a_read_only_mask_is_not_written_to() -> None:
    """A mask over read-only memory can be read. Pasting says what to do."""
    words = np.zeros((5, 1), np.uint64)
    words.flags.writeable = False
    with pytest.raises(MaskError, match="Copy the mask first"):
        BitMask(words, 5).paste(0, 0, np.eye(2))


def test_the_tile_that_was_refused_can_come_again() -> None:
    """A refused tile leaves no trace: its turn is not used up."""
    canvas = Canvas(grid(height=20, width=20), blend="hann")
    tile: Tile = canvas.grid[0]
    with pytest.raises(MaskError):
        canvas.add(tile, np.full_like(HALF, NAN))
    canvas.add(tile, HALF + np.float32(0.2))
    assert canvas.finish()[0].area == 400
