"""Masks become polygons and come back."""

import resource

import numpy as np
import pytest
import rasterio.features
import rasterio.transform
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from kernelkit.maps import polygons
from kernelkit.mask import BitMask
from tests.made.masks import binary_images

# Each pixel may become a polygon, which costs more than a bit.
sides = st.integers(1, 70)
small_images = binary_images(st.tuples(sides, sides))


def _rasterised(shapes: list[shapely.Polygon], shape: tuple[int, int]) -> np.ndarray:
    if not shapes:
        return np.zeros(shape, np.uint8)
    return rasterio.features.rasterize(shapes, shape, dtype="uint8")


@given(small_images, st.integers(1, 40))
def test_polygons_in_bands_give_the_mask_back(image: np.ndarray, rows: int) -> None:
    """Polygons made from bands of any height are valid, and rasterise to the same mask."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kernelkit.maps.polygonise._PIXELS_AT_ONCE", rows * image.shape[1])
        found = list(polygons(BitMask.from_array(image)))
    assert all(polygon.geom_type == "Polygon" and polygon.is_valid for polygon in found)
    assert np.array_equal(_rasterised(found, image.shape), image)


@given(small_images, st.integers(1, 40))
def test_there_is_one_polygon_per_component(image: np.ndarray, rows: int) -> None:
    """Pixels that share a side are one polygon, as scipy counts them, across seams too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kernelkit.maps.polygonise._PIXELS_AT_ONCE", rows * image.shape[1])
        found = list(polygons(BitMask.from_array(image)))
    assert len(found) == ndimage.label(image)[1]


@given(small_images, st.integers(1, 40))
def test_seams_leave_no_trace(image: np.ndarray, rows: int) -> None:
    """Polygons made from bands have the same corners as those made in one piece."""
    mask = BitMask.from_array(image)
    whole = list(polygons(mask))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kernelkit.maps.polygonise._PIXELS_AT_ONCE", rows * image.shape[1])
        banded = list(polygons(mask))
    one = shapely.normalize(shapely.MultiPolygon(shapely.simplify(whole, 0).tolist()))
    other = shapely.normalize(shapely.MultiPolygon(shapely.simplify(banded, 0).tolist()))
    assert one.equals_exact(other)
    assert shapely.get_num_coordinates(banded).sum() <= shapely.get_num_coordinates(whole).sum()


def test_a_hole_stays_a_hole() -> None:
    """A ring around nothing is one polygon with one hole."""
    image = np.ones((5, 6), np.uint8)
    image[2, 2:4] = 0
    (found,) = polygons(BitMask.from_array(image))
    assert len(found.interiors) == 1
    assert found.area == 28


def test_pixels_that_touch_at_a_corner_are_two() -> None:
    """Two diagonal pixels are two polygons."""
    found = list(polygons(BitMask.from_array(np.eye(2, dtype=np.uint8))))
    assert [polygon.area for polygon in found] == [1, 1]


def test_coordinates_are_those_of_the_map() -> None:
    """A pixel becomes the square that the image's transform makes of it, turned grids too."""
    transform = Affine(2, 0.5, 100, -0.25, -3, 500)
    mask = BitMask.from_array(np.array([[0, 0], [0, 1]], np.uint8))
    corners = [(1, 1), (1, 2), (2, 2), (2, 1)]
    (found,) = polygons(mask, transform)
    moved = [rasterio.transform.xy(transform, row, col, offset="ul") for row, col in corners]
    assert found.equals(shapely.Polygon(moved))


def test_memory_does_not_grow_with_the_mask() -> None:
    """Polygons of 12 000 x 12 000 pixels take less memory than the unpacked mask would."""
    noise = np.random.default_rng(0).standard_normal((200, 200))
    tile = np.kron(ndimage.gaussian_filter(noise, 2) > 0.09, np.ones((20, 20))) > 0
    row = BitMask.from_array(np.tile(tile, (1, 3)).astype(np.uint8)).words
    mask = BitMask(np.tile(row, (3, 1)), 12_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    count = sum(1 for _ in polygons(mask))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert count > 100
    assert grown < 12_000 * 12_000 / 1000
