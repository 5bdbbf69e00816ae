"""A mask at another size."""

import tracemalloc

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kernelkit.mask import BitMask, resize
from tests.made.masks import binary_images

sizes = st.tuples(st.integers(1, 40), st.integers(1, 140))


@given(binary_images(st.tuples(st.integers(1, 40), st.integers(1, 140))), sizes)
def test_a_pixel_is_on_if_more_than_half_of_its_area_was(
    image: np.ndarray, size: tuple[int, int]
) -> None:
    """The slow way repeats each pixel until both sizes divide the picture, then counts."""
    (height, width), (to_height, to_width) = image.shape, size
    fine = np.repeat(np.repeat(image, to_height, axis=0), to_width, axis=1)
    areas = fine.reshape(to_height, height, to_width, width).sum((1, 3))
    found = resize(BitMask.from_array(image), size)
    assert np.array_equal(found.to_array(), 2 * areas > height * width)


@given(binary_images(), st.integers(1, 4), st.integers(1, 4))
def test_a_mask_enlarged_by_whole_factors_comes_back(
    image: np.ndarray, rows: int, cols: int
) -> None:
    """Enlarging repeats pixels, and shrinking by the same factors undoes it."""
    mask = BitMask.from_array(image)
    larger = resize(mask, (mask.height * rows, mask.width * cols))
    assert larger.area == mask.area * rows * cols
    assert resize(larger, mask.shape) == mask


def test_no_array_of_the_pixels_is_made() -> None:
    """100 million pixels are resized in less memory than their packed bits take."""
    mask = BitMask.zeros(10_000, 10_000)
    mask.paste(100, 100, np.ones((5000, 5000), np.uint8))
    resize(mask, (7, 7))
    tracemalloc.start()
    assert resize(mask, (1000, 1000)).area == 250_000
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()
