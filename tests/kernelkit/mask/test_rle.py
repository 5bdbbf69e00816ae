"""Run-length encodings: the field's text in every convention, and COCO's."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_api

from kernelkit.errors import MaskError
from kernelkit.mask import BitMask, rle_decode, rle_encode
from kernelkit.mask.rle import format_piece, join_pieces, parse_runs
from kernelkit.mask.runs import are_sparse, fill_runs, runs_of
from tests.made.masks import binary_images

orders = st.sampled_from(["column", "row"])
bases = st.sampled_from([0, 1])


def usual_encoding(image: np.ndarray, order: str, base: int) -> str:
    """The field's numpy function, with the padding that keeps corners."""
    pixels = np.concatenate([[0], image.flatten("F" if order == "column" else "C"), [0]])
    runs = np.flatnonzero(pixels[1:] != pixels[:-1]) + base
    runs[1::2] -= runs[::2]
    return " ".join(str(x) for x in runs)


@given(binary_images(), orders, bases)
def test_the_text_is_the_fields(image: np.ndarray, order: str, base: int) -> None:
    """In each order and from each base the text is that of the usual numpy function."""
    assert rle_encode(image, order, base) == usual_encoding(image, order, base)
    assert BitMask.from_array(image).to_rle(order, base) == usual_encoding(image, order, base)


@given(binary_images(), orders, bases, st.sampled_from(["", "1 0", "-1"]))
def test_decoding_undoes_encoding(image: np.ndarray, order: str, base: int, empty: str) -> None:
    """In every convention, empty masks included, decoding gives the encoded image back."""
    text = rle_encode(image, order, base, empty)
    assert text != "" or empty == ""
    decoded = rle_decode(text, image.shape, order, base, empty)
    assert decoded.dtype == np.uint8
    assert np.array_equal(decoded, image)
    assert BitMask.from_rle(text, image.shape, order, base, empty) == BitMask.from_array(image)


def test_a_small_mask_by_hand() -> None:
    """A known mask has the text that one counts by hand."""
    image = np.array([[1, 0, 1], [1, 0, 0]])
    assert rle_encode(image) == "1 2 5 1"
    assert rle_encode(image, order="row") == "1 1 3 2"
    assert rle_encode(image, order="row", base=0) == "0 1 2 2"


@pytest.mark.parametrize("shape", [(3, 4), (64, 64), (65, 512), (130, 513)])
def test_first_and_last_pixel_survive(shape: tuple[int, int]) -> None:
    """A mask that touches both ends of the line keeps them. The usual function loses them."""
    image = np.zeros(shape, np.uint8)
    image[0, 0] = image[-1, -1] = 1
    for order in ("column", "row"):
        assert rle_encode(image, order) == f"1 1 {image.size} 1"
    assert rle_encode(np.ones(shape)) == f"1 {image.size}"


@pytest.mark.parametrize("empty", ["", "1 0", "-1"])
def test_an_empty_mask_is_written_as_the_competition_says(empty: str) -> None:
    """An empty mask becomes the text given for it, and only in that convention is it read."""
    assert BitMask.zeros(5, 5).to_rle(empty=empty) == empty
    assert BitMask.from_rle(empty, (5, 5), empty=empty).area == 0
    assert BitMask.from_rle(" \n", (5, 5), empty=empty).area == 0
    if empty:
        with pytest.raises(MaskError):
            BitMask.from_rle(empty, (5, 5))


@pytest.mark.parametrize(
    ("text", "place", "complaint"),
    [
        ("7", 0, "a start without a length"),
        ("1 2 5", 4, "a start without a length"),
        ("1 x", 2, "'x' is not a whole number"),
        ("1.0 2", 0, "'1.0' is not a whole number"),
        ("+1 2", 0, "'+1' is not a whole number"),
        ("1 2, 5 1", 2, "'2,' is not a whole number"),
        ("1 -", 2, "'-' is not a whole number"),
        ("1 2 ５ 1", 4, "'５' is not a whole number"),
        ("1 1234567890123456789", 2, "not a whole number of 1 to 18 digits"),
        ("5 0", 2, "the length 0 is not positive"),
        ("5 3 20 -2", 7, "the length -2 is not positive"),
        ("0 3", 0, "the start 0 lies before the first pixel, 1"),
        ("-4 3", 0, "the start -4 lies before the first pixel, 1"),
        ("5 3 7 1", 4, "the start 7 lies before the end of the run before it"),
        ("5 3 2 1", 4, "the start 2 lies before the end of the run before it"),
        ("5 3 5 3", 4, "the start 5 lies before the end of the run before it"),
        ("5 3 100 2", 4, "ends past the last pixel, 100"),
        ("101 1", 0, "ends past the last pixel, 100"),
        ("  1 2  3", 7, "a start without a length"),
    ],
)
def test_malformed_text_is_refused_at_its_place(text: str, place: int, complaint: str) -> None:
    """Each mistake is named, with the position in the string at which it lies."""
    with pytest.raises(MaskError) as caught:
        rle_decode(text, (10, 10))
    assert str(caught.value).startswith(f"run-length encoding, character {place}: ")
    assert complaint in str(caught.value)


def test_runs_that_touch_are_allowed() -> None:
    """A run may begin where the one before it ends, and white space may be anything."""
    assert rle_decode(" 1 2\t3  2\n", (2, 3)).tolist() == [[1, 1, 0], [1, 1, 0]]


@pytest.mark.parametrize("value", [float("nan"), None, 12])
def test_what_is_not_text_is_refused_with_the_remedy(value: object) -> None:
    """An empty cell that pandas read as NaN is refused with the argument that keeps it as text."""
    with pytest.raises(MaskError, match="keep_default_na=False"):
        rle_decode(value, (10, 10))


def test_an_unknown_convention_is_refused() -> None:
    """Orders and bases other than the two of each are refused by name."""
    with pytest.raises(MaskError, match="'fortran'"):
        rle_encode(np.eye(3), order="fortran")
    with pytest.raises(MaskError, match="base 2"):
        rle_decode("1 1", (3, 3), base=2)


runs_far_out = st.lists(st.integers(0, 2**40), unique=True, min_size=2, max_size=40).map(
    lambda runs: np.array(sorted(runs)[: len(runs) // 2 * 2], np.int64)
)


@given(runs_far_out, bases)
def test_positions_up_to_2_to_the_40_keep_every_digit(runs: np.ndarray, base: int) -> None:
    """Runs of a line of 2^40 pixels are written and read without a mask of that size."""
    text = join_pieces([format_piece(runs, False, base)], 2**40, base)
    assert text == " ".join(
        f"{start + base} {stop - start}" for start, stop in runs.reshape(-1, 2).tolist()
    )
    assert np.array_equal(parse_runs(text, 2**40, base), runs)


@pytest.mark.timeout(120)
def test_a_mask_of_more_than_2_to_the_32_pixels() -> None:
    """Positions past 2^32 are right in both orders: 131072 x 65536 pixels, mostly untouched."""
    mask = BitMask.zeros(1 << 17, 1 << 16)
    mask.paste((1 << 17) - 2, (1 << 16) - 3, np.array([[0, 1, 1], [0, 0, 1]]))
    assert mask.to_rle() == f"{(1 << 33) - (1 << 17) - 1} 1 {(1 << 33) - 1} 2"
    assert mask.to_rle("row", 0) == f"{(1 << 33) - (1 << 16) - 2} 2 {(1 << 33) - 1} 1"


@given(binary_images(), st.integers(0, 5), bases, st.lists(st.integers(0, 600), max_size=5))
def test_the_line_can_be_cut_anywhere(
    image: np.ndarray, extra: int, base: int, cuts: list[int]
) -> None:
    """Text joined from pieces is the same, wherever runs are cut between them."""
    line = np.concatenate([[0], image.ravel()[: 600 - extra], [0]])
    runs = np.flatnonzero(line[1:] != line[:-1])
    size = len(line) - 2
    bounds = [0, *sorted(min(cut, size) for cut in cuts), size]
    pieces = []
    for start, stop in pairwise(bounds):
        inside = runs[(runs >= start) & (runs < stop)]
        is_on = bool(np.count_nonzero(runs < start) % 2)
        pieces.append(format_piece(inside, is_on, base))
    whole = " ".join(f"{a + base} {b - a}" for a, b in runs.reshape(-1, 2).tolist())
    assert join_pieces(pieces, size, base) == whole


@given(binary_images())
def test_coco_encoding_is_pycocotools_byte_for_byte(image: np.ndarray) -> None:
    """COCO's compressed encoding equals that of pycocotools, and either is read back."""
    expected = coco_api.encode(np.asfortranarray(image))
    mask = BitMask.from_array(image)
    assert mask.to_coco() == expected
    assert BitMask.from_coco(expected) == mask
    assert BitMask.from_coco({**expected, "counts": expected["counts"].decode()}) == mask
    assert np.array_equal(coco_api.decode(mask.to_coco()), image)


def test_coco_encodings_with_empty_runs_are_read() -> None:
    """A count of 0 in the middle, which drawing polygons can leave, joins its neighbours."""
    loose = coco_api.frPyObjects({"size": [4, 4], "counts": [2, 3, 0, 4, 7]}, 4, 4)
    assert np.array_equal(BitMask.from_coco(loose).to_array(), coco_api.decode(loose))


@pytest.mark.parametrize(
    ("counts", "complaint"),
    [
        (b"4", "sum to 4 pixels, but the image has 16"),
        (b"T1", "go past the last pixel"),
        (b"0P", "the last count is cut off"),
        (b"0 ", "a character that no count has"),
        (b"OO", "a count is negative"),
        (b"PPPPPPPPPPPPPPPPP", "a character that no count has"),
        ([4, 4, 8], "frPyObjects"),
    ],
)
def test_malformed_coco_encodings_are_refused(counts: object, complaint: str) -> None:
    """A COCO encoding that does not fit its image, or is none, is refused with the reason."""
    with pytest.raises(MaskError, match=complaint):
        BitMask.from_coco({"size": [4, 4], "counts": counts})


@given(binary_images(), orders)
def test_memory_that_is_zero_already_is_filled_alike(image: np.ndarray, order: str) -> None:
    """Runs give the same words whether these held anything or were 0 before."""
    mask = BitMask.from_array(image)
    runs = runs_of(mask.words, mask.width, order)
    for held, is_zero in ((0, True), (2**64 - 1, False)):
        words = np.full_like(mask.words, held)
        fill_runs(runs, mask.width, order, words, is_zero=is_zero)
        assert np.array_equal(words, mask.words)


@pytest.mark.parametrize("order", ["column", "row"])
def test_a_few_runs_leave_memory_untouched(order: str) -> None:
    """Ten objects on a slide touch less than all of its memory, ten thousand do not."""
    disc = np.hypot(*np.ogrid[-200:200, -200:200]) < 200
    mask = BitMask.zeros(30000, 50000)
    for place in range(10):
        mask.paste(2500 * place, 4000 * place, disc)
    assert are_sparse(runs_of(mask.words, mask.width, order), mask.shape, order)
    assert BitMask.from_rle(mask.to_rle(order), mask.shape, order) == mask
    runs = np.arange(0, 30000 * 50000, 20000)
    assert not are_sparse(runs, mask.shape, order)
