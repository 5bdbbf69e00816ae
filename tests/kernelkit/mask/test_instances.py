"""Components one by one: their runs, what they cover together, and their mean probability."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from kernelkit.errors import MaskError
from kernelkit.mask import BitMask
from kernelkit.mask.instances import (
    mask_of_parts,
    mean_of_runs,
    refuse_overlaps,
    runs_of_components,
)
from kernelkit.mask.texts import text_of_runs
from kernelkit.vocabulary import Order
from tests.made.masks import binary_images, shapes

orders = st.sampled_from(["column", "row"])


def scipys_components(image: np.ndarray, order: Order) -> list[np.ndarray]:
    """The 8-connected components, by their first pixels in `order`."""
    lines = image if order == "row" else image.T
    labels, count = ndimage.label(lines, np.ones((3, 3)))
    found = [labels == number for number in range(1, count + 1)]
    return found if order == "row" else [component.T for component in found]


@given(binary_images(), orders)
def test_components_are_scipys_in_the_order_of_their_first_pixels(
    image: np.ndarray, order: Order
) -> None:
    """The text of each component is that of a mask which holds it alone."""
    found = runs_of_components(BitMask.from_array(image), order)
    wanted = [BitMask.from_array(each) for each in scipys_components(image, order)[:20]]
    texts = [text_of_runs(runs, image.size, "text") for runs in found[:20]]
    assert texts == [mask.to_rle(order) for mask in wanted]


@given(binary_images(), orders)
def test_the_components_are_the_mask(image: np.ndarray, order: Order) -> None:
    """Together they are the mask, and no two of them share a pixel."""
    mask = BitMask.from_array(image)
    parts = runs_of_components(mask, order)
    refuse_overlaps(parts)
    assert mask_of_parts(parts, mask.shape, order) == mask


@given(st.data(), shapes, orders)
def test_parts_that_overlap_are_one_mask_and_are_refused(
    data: st.DataObject, shape: tuple[int, int], order: Order
) -> None:
    """The mask is what any part holds. Parts are refused if a pixel is in two of them."""
    images = data.draw(st.lists(binary_images(st.just(shape)), min_size=1, max_size=4))
    masks = [BitMask.from_array(image) for image in images]
    parts = [np.concatenate(runs_of_components(m, order) or [np.empty(0, int)]) for m in masks]
    assert np.array_equal(mask_of_parts(parts, shape, order).to_array(), np.any(images, axis=0))
    if (np.sum(images, axis=0) > 1).any():
        with pytest.raises(MaskError, match="have the pixel at position .* in common"):
            refuse_overlaps(parts)
    else:
        refuse_overlaps(parts)


@given(binary_images(), orders, st.sampled_from(["uint8", "float32"]), st.integers(0, 99))
def test_the_mean_probability_is_numpys(
    image: np.ndarray, order: Order, dtype: str, seed: int
) -> None:
    """The mean over a component's pixels, on the scale from 0 to 1."""
    pixels = np.random.default_rng(seed).integers(0, 256, image.shape, np.uint8)
    probabilities = pixels if dtype == "uint8" else (pixels / 255).astype(np.float32)
    parts = runs_of_components(BitMask.from_array(image), order)[:20]
    for runs, component in zip(parts, scipys_components(image, order), strict=False):
        wanted = pixels[component].mean() / 255
        assert mean_of_runs(runs, probabilities, order) == pytest.approx(wanted, abs=1e-6)
