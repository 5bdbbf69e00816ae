"""The tile grid: cores partition the image, and read windows are of one size."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import rasterio.transform
import rasterio.windows
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.windows import Window as RasterWindow

from kernelkit.errors import GridError
from kernelkit.grid import TileGrid, Window, placed


@st.composite
def grids(draw: st.DrawFn) -> TileGrid:
    """Grids over images smaller and larger than a tile, of sizes that nothing divides."""
    scale = draw(st.integers(1, 4))
    return TileGrid(
        height=draw(st.integers(1, 90)),
        width=draw(st.integers(1, 90)),
        core=draw(st.integers(1, 12)) * scale,
        pad=draw(st.integers(0, 6)) * scale,
        scale=scale,
        edges=draw(st.sampled_from(["pad", "shift"])),
    )


@st.composite
def clipped_grids(draw: st.DrawFn) -> TileGrid:
    """Grids whose tiles may be clipped: images of a pixel, of half a tile, and larger ones."""
    scale = draw(st.integers(1, 3))
    sides = st.one_of(st.integers(1, 8), st.integers(1, 400))
    return TileGrid(
        height=draw(sides),
        width=draw(sides),
        core=draw(st.integers(20, 250)) * scale,
        pad=draw(st.integers(0, 100)) * scale,
        scale=scale,
        edges=draw(st.sampled_from(["pad", "shift"])),
        clipped=True,
    )


@settings(max_examples=1000)
@given(st.one_of(grids(), clipped_grids()))
def test_cores_partition_the_image(grid: TileGrid) -> None:
    """Every pixel of the image lies in exactly one core. Every core lies inside the image."""
    hits = np.zeros((grid.height, grid.width), int)
    for tile in grid:
        assert tile.core.area > 0
        assert tile.core.intersection(Window(0, 0, grid.height, grid.width)) == tile.core
        hits[tile.core.slices] += 1
    assert (hits == 1).all()


@settings(max_examples=500)
@given(st.one_of(grids(), clipped_grids()))
def test_read_windows_are_of_one_size_and_hold_their_core(grid: TileGrid) -> None:
    """Each read window is a square of core + 2 pad on the scale's lattice, around its core."""
    assert grid.clipped or grid.tile_shape == (grid.tile_size, grid.tile_size)
    assert grid.net_shape == tuple(side // grid.scale for side in grid.tile_shape)
    for tile in grid:
        assert (tile.read.height, tile.read.width) == grid.tile_shape
        assert tile.read.row % grid.scale == tile.read.col % grid.scale == 0
        assert tile.core.row % grid.scale == tile.core.col % grid.scale == 0
        assert tile.read.intersection(tile.core) == tile.core
        assert tile.inner == Window(
            tile.core.row - tile.read.row,
            tile.core.col - tile.read.col,
            tile.core.height,
            tile.core.width,
        )


@settings(max_examples=500)
@given(grids())
def test_shifted_tiles_stay_inside(grid: TileGrid) -> None:
    """With shifted edges no tile begins outside, or ends further out than the scale demands."""
    if grid.edges == "pad":
        return
    for tile in grid:
        assert min(tile.read.row, tile.read.col) >= 0
        assert tile.read.bottom < max(grid.height, grid.tile_size) + grid.scale
        assert tile.read.right < max(grid.width, grid.tile_size) + grid.scale


@settings(max_examples=500)
@given(clipped_grids())
def test_only_narrow_axes_are_clipped(grid: TileGrid) -> None:
    """An axis of more than a quarter of a tile is cut as without clipping. A shorter one is halved.

    What is left is a multiple of 32 that holds the image twice, and no less than 64.
    """
    square = replace(grid, clipped=False)
    half = -(-grid.net_size // 64) * 32
    for axis, length in enumerate((grid.height, grid.width)):
        side, needed = grid.net_shape[axis], 2 * -(-length // grid.scale)
        if needed > half or half < 64 or half == grid.net_size:
            assert side == grid.net_size
            spans = [
                {(t.read[axis], t.core[axis], t.core[axis + 2]) for t in g} for g in (grid, square)
            ]
            assert spans[0] == spans[1]
        else:
            assert side <= half
            assert side % 32 == 0
            assert side >= max(64, needed)
            assert side < max(128, 2 * needed + 64)


def test_a_line_of_pixels_has_narrow_tiles() -> None:
    """A column of 100 000 pixels reads 64 beside it, and 3 x 3 pixels the smallest tile."""
    column = TileGrid(100_000, 1, core=384, pad=64, clipped=True)
    assert (len(column), column.tile_shape) == (261, (512, 64))
    assert column[0].inner == Window(64, 31, 384, 1)
    assert TileGrid(1, 50_000, core=384, pad=64, clipped=True).tile_shape == (64, 512)
    [only] = TileGrid(3, 3, core=384, pad=64, clipped=True)
    assert (only.read, only.core) == (Window(-30, -30, 64, 64), Window(0, 0, 3, 3))


@settings(max_examples=500)
@given(st.one_of(grids(), clipped_grids()))
def test_bounds_hold_every_read_window(grid: TileGrid) -> None:
    """The bounds are the smallest window that holds all read windows."""
    assert grid.bounds.row == min(tile.read.row for tile in grid)
    assert grid.bounds.col == min(tile.read.col for tile in grid)
    assert grid.bounds.bottom == max(tile.read.bottom for tile in grid)
    assert grid.bounds.right == max(tile.read.right for tile in grid)


def test_the_count_of_the_public_test_images() -> None:
    """HuBMAP's five test images have 2659 tiles of core 1536."""
    sizes = [(30720, 47340), (23990, 47723), (29433, 22165), (46660, 29020), (33240, 43160)]
    assert sum(len(TileGrid(*size, core=1536, pad=384, scale=3)) for size in sizes) == 2659


def test_tiles_are_cores_with_their_context() -> None:
    """A core of 1536 with a pad of 384 is read as 2304 pixels. At scale 3 that is 768."""
    grid = TileGrid(5000, 6000, core=1536, pad=384, scale=3)
    assert (grid.tile_size, grid.net_size) == (2304, 768)


def test_a_grid_is_a_sequence() -> None:
    """It has a length, negative indices and slices, and pickles as itself."""
    grid = TileGrid(100, 90, core=30, pad=5)
    assert len(grid) == len(list(grid)) == 12 == grid.rows * grid.columns
    assert grid[-1] == grid[11] == grid[10:][-1]
    assert pickle.loads(pickle.dumps(grid)) == grid
    with pytest.raises(IndexError, match="tile 12 of a grid of 12"):
        grid[12]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"core": 100, "pad": 10, "scale": 3}, "Core 102 and pad 12 would do"),
        ({"core": 0}, "must be at least 1"),
        ({"core": 10, "pad": -1}, "pad at least 0"),
        ({"core": 10, "edges": "mirror"}, '"pad" or "shift"'),
    ],
)
def test_an_impossible_grid_says_what_would_do(arguments: dict, message: str) -> None:
    """A GridError names the values that were found, and ones that fit if there are any."""
    with pytest.raises(GridError, match=message):
        TileGrid(100, 100, **arguments)


@given(st.integers(-50, 50), st.integers(-50, 50), st.integers(1, 60), st.integers(1, 60))
def test_a_window_lies_where_rasterio_says(row: int, col: int, height: int, width: int) -> None:
    """The transform of a window is rasterio's, turned grids and resized windows too."""
    transform = Affine(2, 0.5, 100, -0.25, -3, 500)
    window = Window(row, col, height, width)
    theirs = rasterio.windows.transform(RasterWindow(col, row, width, height), transform)
    assert placed(window, transform).almost_equals(theirs)
    rows, columns = height + 3, 2 * width
    resized = theirs * Affine.scale(width / columns, height / rows)
    assert placed(window, transform, (rows, columns)).almost_equals(resized)


def test_tiles_of_a_grid_lie_where_their_pixels_do() -> None:
    """Each tile, also beyond the border, has the corner that rasterio gives its first pixel."""
    transform = Affine(10, 0, 500_000, 0, -10, 3_700_000)
    for tile in TileGrid(300, 420, core=128, pad=32, scale=2):
        moved = placed(tile.read, transform, (96, 96))
        corner = rasterio.transform.xy(transform, tile.read.row, tile.read.col, offset="ul")
        assert (moved.c, moved.f) == corner
        assert (moved.a, moved.e) == (20, -20)
