"""The tiles: the same bytes whatever the workers, and each block decoded once."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelkit.errors import SlideError
from kernelkit.grid import TileGrid, Window
from kernelkit.reader import ReaderPool, TileReader, pieces
from kernelkit.reader.pieces import cut_pieces
from kernelkit.reader.workers import StartMethod
from kernelkit.vocabulary import Edges, Fill
from tests.made.layouts import picture, spoil_block, write
from tests.made.readers import (
    KINDS,
    MARKS,
    SIZE,
    START_METHODS,
    assert_delivers,
    expected,
    grid_of,
    pool_of,
    run_python,
)

pytestmark = MARKS


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("fill", get_args(Fill))
@pytest.mark.parametrize("scale", [1, 3])
@pytest.mark.parametrize("layout", ["tiled", "jpeg", "none", "strips", "planar", "5d"])
def test_the_same_bytes_with_and_without_workers(
    tmp_path: Path, layout: str, scale: int, fill: Fill
) -> None:
    """Inline and with threads each tile equals a plain read of its window."""
    path = write(tmp_path / "image.tif", picture(3, 517, 703), layout)
    grid = grid_of(path, core=96, pad=24, scale=scale)
    wanted = expected(path, grid, fill)
    assert_delivers(TileReader(path, grid, 0, fill=fill), wanted)
    with ReaderPool(3, "thread") as pool:
        assert_delivers(TileReader(path, grid, pool, fill=fill), wanted)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("start_method", START_METHODS)
def test_the_same_bytes_from_processes(image: Path, start_method: StartMethod) -> None:
    """However processes start, each tile is the same, and again with the same processes."""
    grid = grid_of(image)
    wanted = expected(image, grid)
    with ReaderPool(2, "process", start_method) as pool:
        assert_delivers(TileReader(image, grid, pool), wanted)
        assert_delivers(TileReader(image, grid, pool, indices=range(5, 20, 3)), wanted)


@pytest.mark.parametrize("size", [(1, 1), (50, 40), (97, 300)])
@pytest.mark.parametrize("workers", [0, 2])
def test_images_smaller_than_a_tile(tmp_path: Path, size: tuple[int, int], workers: int) -> None:
    """They are read with their surroundings filled, like any other border."""
    path = write(tmp_path / "image.tif", picture(1, *size, "uint16"), "tiled")
    grid = grid_of(path, core=96, pad=24, scale=1)
    with ReaderPool(workers, "thread") as pool:
        assert_delivers(
            TileReader(path, grid, pool, fill="reflect"), expected(path, grid, "reflect")
        )


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("size", [(1, 1), (1, 900), (700, 3), (40, 300), (300, 300)])
@pytest.mark.parametrize("kind", KINDS)
def test_narrow_tiles_of_narrow_images(tmp_path: Path, size: tuple[int, int], kind: str) -> None:
    """Tiles that are clipped along an axis are plain reads of their windows too."""
    path = write(tmp_path / "image.tif", picture(3, *size), "tiled")
    grid = replace(grid_of(path, core=192, pad=24, scale=1), clipped=True)
    wanted = expected(path, grid, "edge")
    with pool_of(kind) as pool:
        assert_delivers(TileReader(path, grid, pool, fill="edge"), wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_batches(image: Path, kind: str) -> None:
    """Tiles come in arrays of the size that was asked for. The last one is smaller."""
    grid = grid_of(image)
    wanted = expected(image, grid)
    with pool_of(kind) as pool:
        batches = list(TileReader(image, grid, pool, indices=range(3, 20)).batches(8))
    assert [len(batch.pixels) for batch in batches] == [8, 8, 1]
    pairs = itertools.chain.from_iterable(zip(b.tiles, b.pixels, strict=True) for b in batches)
    for (tile, pixels), index in zip(pairs, range(3, 20), strict=True):
        assert tile.index == index
        assert np.array_equal(pixels, wanted[index])


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("kind", KINDS)
def test_tiles_are_the_callers_own(image: Path, kind: str) -> None:
    """If the caller keeps them all and writes into them, no other tile changes."""
    grid = grid_of(image)
    with pool_of(kind) as pool:
        kept = []
        for _, pixels in TileReader(image, grid, pool):
            kept.append((pixels, pixels.copy()))
            pixels += 1
    for (pixels, copy), wanted in zip(kept, expected(image, grid), strict=True):
        assert np.array_equal(copy, wanted)
        assert np.array_equal(pixels, wanted + np.uint8(1))


@settings(max_examples=300)
@given(st.data())
def test_pieces_cover_each_window_once(data: st.DataObject) -> None:
    """Pieces are disjoint, cover every read window, and list exactly the tiles that need them."""
    scale = data.draw(st.integers(1, 3))
    height, width = data.draw(st.integers(1, 300)), data.draw(st.integers(1, 300))
    grid = TileGrid(
        height,
        width,
        core=data.draw(st.integers(4, 40)) * scale,
        pad=data.draw(st.integers(0, 20)) * scale,
        scale=scale,
        edges=data.draw(st.sampled_from(get_args(Edges))),
    )
    block = data.draw(st.sampled_from([(16, 16), (1, width), (8, width), (32, 32), (7, 5)]))
    wanted = sorted(data.draw(st.sets(st.integers(0, len(grid) - 1), min_size=1)))
    tiles = [grid[index] for index in wanted]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "_PIECE_AREA", data.draw(st.sampled_from([100, 1000, 5000])))
        patch.setattr(pieces, "_PIECE_ROWS", data.draw(st.sampled_from([8, 32])))
        cut = cut_pieces(grid, block, tiles)
    bounds = grid.bounds
    times = np.zeros((bounds.height, bounds.width), int)
    for piece in cut:
        assert piece.window.row % scale == piece.window.col % scale == 0
        times[piece.window.relative_to(bounds).slices] += 1
        touching = [i for i, t in enumerate(tiles) if t.read.intersection(piece.window).area]
        assert list(piece.tiles) == touching
    assert times.max() == 1
    for tile in tiles:
        assert (times[tile.read.relative_to(bounds).slices] == 1).all()
    assert [piece.tiles[0] for piece in cut] == sorted(piece.tiles[0] for piece in cut)


@pytest.mark.parametrize("layout", ["tiled", "strips", "planar", "subdatasets-strips"])
def test_each_block_is_decoded_about_once(tmp_path: Path, layout: str) -> None:
    """With 25 % of pad on each side, at most 1.15 times the file's bytes are read from it."""
    path = write(tmp_path / "image.tif", picture(3, 2100, 2300), layout)
    script = (
        "import sys\n"
        "from kernelkit.reader import ReaderPool, TileReader\n"
        "from kernelkit.grid import TileGrid\n"
        "from kernelkit.slide import Slide\n"
        "def read():\n"
        "    with open('/proc/self/io') as file:\n"
        "        return int(file.readline().split()[1])\n"
        "grid = TileGrid(2100, 2300, core=384, pad=96)\n"
        "with ReaderPool(int(sys.argv[2]), 'thread') as pool:\n"
        "    Slide(sys.argv[1]).close()\n"
        "    before = read()\n"
        "    for _ in TileReader(sys.argv[1], grid, pool): pass\n"
        "    print(read() - before)\n"
    )
    for workers in ("0", "2"):
        done = run_python("-c", script, path, workers)
        assert 0.9 < int(done.stdout) / path.stat().st_size <= 1.15


def test_a_corrupt_block_costs_its_own_pixels(tmp_path: Path) -> None:
    """They are zeroed and the tiles that see them are listed. The others do not change."""
    path = write(tmp_path / "image.tif", picture(3, *SIZE), "deflate")
    grid = grid_of(path, scale=1)
    wanted = expected(path, grid)
    spoil_block(path, 512, 768)
    broken = Window(512, 768, 256, 256)
    seen = [tile.index for tile in grid if tile.read.intersection(broken).area]
    for pool in (ReaderPool(0), ReaderPool(2, "thread"), ReaderPool(2, "process")):
        with pool:
            reader = TileReader(path, grid, pool)
            for tile, pixels in reader:
                part = broken.intersection(tile.read)
                if part.area:
                    rows, columns = part.relative_to(tile.read).slices
                    wanted[tile.index][:, rows, columns] = 0
                assert np.array_equal(pixels, wanted[tile.index])
            assert reader.bad_tiles == reader.stats.bad_tiles == seen
            assert reader.stats.bad_windows == [broken]


@pytest.mark.parametrize("kind", KINDS)
def test_a_corrupt_block_is_an_error_if_strict(tmp_path: Path, kind: str) -> None:
    """The error names the file and the window. No worker goes on after it."""
    path = write(tmp_path / "image.tif", picture(3, *SIZE), "deflate")
    spoil_block(path, 512, 768)
    with pool_of(kind) as pool:
        reader = TileReader(path, grid_of(path), pool, strict=True)
        with pytest.raises(SlideError, match=r"image\.tif: rows 0:768, columns 768:1300 could not"):
            list(reader)
