"""Connected components on runs, against scipy's on pixels."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from kernelkit.errors import MaskError
from kernelkit.mask import BitMask
from kernelkit.mask import components as components_module
from tests.made.masks import binary_images

connectivities = st.sampled_from([4, 8])
band_heights = st.sampled_from([1, 2, 3, 50, 2048])


@pytest.fixture(autouse=True)
def _usual_bands() -> Iterator[None]:
    usual = components_module._ROWS_AT_ONCE
    yield
    components_module._ROWS_AT_ONCE = usual


def scipy_labels(image: np.ndarray, connectivity: int) -> tuple[np.ndarray, int]:
    return ndimage.label(image, np.ones((3, 3)) if connectivity == 8 else None)


def scipy_areas(labels: np.ndarray) -> np.ndarray:
    return np.bincount(labels.ravel())[1:]


def touches_border(labels: np.ndarray, count: int) -> np.ndarray:
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    return np.isin(np.arange(1, count + 1), border)


@given(binary_images(), connectivities, band_heights)
def test_components_are_scipys(image: np.ndarray, connectivity: int, band_height: int) -> None:
    """Number, order, areas, boxes, centroids and border contact are those of scipy's labels."""
    components_module._ROWS_AT_ONCE = band_height
    labels, count = scipy_labels(image, connectivity)
    found = BitMask.from_array(image).components(connectivity)
    assert len(found) == count
    assert np.array_equal(found.areas, scipy_areas(labels))
    boxes = [
        (rows.start, cols.start, rows.stop, cols.stop)
        for rows, cols in ndimage.find_objects(labels)
    ]
    assert np.array_equal(found.boxes, np.array(boxes, int).reshape(count, 4))
    centers = ndimage.center_of_mass(image, labels, np.arange(1, count + 1))
    np.testing.assert_allclose(found.centroids, np.reshape(centers, (count, 2)))
    assert np.array_equal(found.touching_border, touches_border(labels, count))


@given(binary_images(), connectivities, band_heights, st.integers(0, 40))
def test_small_components_go(
    image: np.ndarray, connectivity: int, band_height: int, min_area: int
) -> None:
    """With ">=" components of exactly the minimum stay, with ">" they go."""
    components_module._ROWS_AT_ONCE = band_height
    labels, _ = scipy_labels(image, connectivity)
    areas = np.concatenate([[0], scipy_areas(labels)])
    inside = labels > 0
    mask = BitMask.from_array(image)
    at_least = mask.remove_small(min_area, connectivity=connectivity)
    more_than = mask.remove_small(min_area, keep=">", connectivity=connectivity)
    assert np.array_equal(at_least.to_array(), inside & (areas[labels] >= min_area))
    assert np.array_equal(more_than.to_array(), inside & (areas[labels] > min_area))
    assert np.array_equal(mask.to_array(), image)


@given(binary_images(), connectivities, band_heights)
def test_holes_are_scipys(image: np.ndarray, connectivity: int, band_height: int) -> None:
    """Filling all holes is scipy's binary_fill_holes with the background's connectivity."""
    components_module._ROWS_AT_ONCE = band_height
    structure = None if connectivity == 8 else np.ones((3, 3))
    filled = BitMask.from_array(image).fill_holes(connectivity=connectivity)
    assert np.array_equal(filled.to_array(), ndimage.binary_fill_holes(image, structure))


@given(binary_images(), connectivities, st.integers(0, 12))
def test_only_small_holes_are_filled(image: np.ndarray, connectivity: int, max_area: int) -> None:
    """Holes of at most the given area are filled, larger ones and the outside are not."""
    labels, count = scipy_labels(1 - image, 12 - connectivity)
    areas = np.concatenate([[0], scipy_areas(labels)])
    inner = np.concatenate([[False], ~touches_border(labels, count)])
    expected = image | (inner & (areas <= max_area))[labels]
    filled = BitMask.from_array(image).fill_holes(max_area, connectivity)
    assert np.array_equal(filled.to_array(), expected)


@given(binary_images(), connectivities, st.integers(0, 4))
def test_the_largest_stay(image: np.ndarray, connectivity: int, n: int) -> None:
    """The n largest components stay. Of equal ones, those that come first do."""
    labels, _ = scipy_labels(image, connectivity)
    largest = np.argsort(-scipy_areas(labels), kind="stable")[:n] + 1
    kept = BitMask.from_array(image).keep_largest(n, connectivity)
    assert np.array_equal(kept.to_array(), np.isin(labels, largest))


@given(binary_images(), connectivities)
def test_components_at_the_border_go(image: np.ndarray, connectivity: int) -> None:
    """Removing components at the border leaves exactly the others."""
    labels, count = scipy_labels(image, connectivity)
    inner = np.concatenate([[False], ~touches_border(labels, count)])
    kept = BitMask.from_array(image).remove_touching_border(connectivity)
    assert np.array_equal(kept.to_array(), inner[labels])


@given(binary_images(), connectivities, st.integers(0, 2**32 - 1))
def test_any_choice_of_components_can_be_kept(
    image: np.ndarray, connectivity: int, seed: int
) -> None:
    """Components chosen by their number in `components` stay, and no others."""
    labels, count = scipy_labels(image, connectivity)
    keep = np.random.default_rng(seed).random(count) < 0.5
    kept = BitMask.from_array(image).keep_components(keep, connectivity)
    assert np.array_equal(kept.to_array(), np.concatenate([[False], keep])[labels])


def test_a_spiral_is_one_component() -> None:
    """Arms that meet only at the end, over many rows and bands, are one component."""
    image = np.zeros((129, 129), np.uint8)
    for i in range(0, 64, 4):
        image[i, i : 129 - i] = image[128 - i, i : 129 - i] = 1
        image[i : 129 - i, 128 - i] = 1
        image[i + 4 : 129 - i, i] = 1
        image[i + 4, i : i + 5] = 1
    assert scipy_labels(image, 4)[1] == 1
    for band_height in (1, 7, 64, 2048):
        components_module._ROWS_AT_ONCE = band_height
        assert len(BitMask.from_array(image).components(4)) == 1


def test_diagonal_neighbours_join_only_when_asked() -> None:
    """A checker board is one component at connectivity 8, and one per pixel at 4."""
    board = BitMask.from_array(np.indices((20, 70)).sum(0) % 2)
    assert len(board.components(8)) == 1
    assert len(board.components(4)) == board.area == 700


def test_wrong_choices_are_refused() -> None:
    """An unknown connectivity or comparison, or too few choices, is refused by name."""
    mask = BitMask.from_array(np.eye(9))
    with pytest.raises(MaskError, match="connectivity 6"):
        mask.components(6)
    with pytest.raises(MaskError, match='">" or ">="'):
        mask.remove_small(3, keep="<")
    with pytest.raises(MaskError, match="2 choices were given for 1 components"):
        mask.keep_components(np.array([True, False]))
