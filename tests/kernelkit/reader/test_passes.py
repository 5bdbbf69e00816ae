"""Passes: what their numbers say, and how the next image begins."""

import time
from pathlib import Path

import pytest
from rasterio.env import get_gdal_config

from kernelkit.reader import ReaderPool, TileReader
from kernelkit.reader.workers import Kind
from tests.made.layouts import picture, write
from tests.made.readers import MARKS, assert_delivers, expected, grid_of

pytestmark = MARKS


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("kind", ["thread", "process"])
def test_a_slow_caller_holds_the_readers_back(image: Path, kind: Kind) -> None:
    """No more tiles are in memory than may be read ahead, however long the caller takes."""
    grid = grid_of(image, core=64, pad=16, scale=1)
    with ReaderPool(2, kind) as pool:
        reader = TileReader(image, grid, pool)
        reader.start()
        time.sleep(1)
        run = reader._begun
        assert run is not None
        assert 0 < len(run._slots) < len(grid) / 2
        assert_delivers(reader, expected(image, grid))


@pytest.mark.usefixtures("small_pieces")
def test_the_next_image_is_begun_before_this_one_ends(image: Path, tmp_path: Path) -> None:
    """Readers in a row share the workers. The second has read ahead before it is asked."""
    other = write(tmp_path / "other.tif", picture(3, 700, 800, seed=1), "strips")
    with ReaderPool(2, "process") as pool:
        first = TileReader(image, grid_of(image), pool)
        second = TileReader(other, grid_of(other), pool)
        first.then(second)
        assert_delivers(first, expected(image, first.grid))
        assert second._begun is not None
        assert_delivers(second, expected(other, second.grid))


def test_a_pass_that_was_begun_can_be_called_off(image: Path) -> None:
    """Closing the reader ends what reads ahead for it."""
    with ReaderPool(2, "process") as pool, TileReader(image, grid_of(image), pool) as reader:
        reader.start()


def test_what_the_numbers_say(image: Path) -> None:
    """Tiles, pixels and skipped tiles are counted. A slow caller shows as idle readers."""
    grid = grid_of(image)
    with ReaderPool(2, "thread") as pool:
        reader = TileReader(image, grid, pool, indices=range(10))
        for _ in reader:
            time.sleep(0.05)
    stats = reader.stats
    assert (stats.tiles, stats.skipped) == (10, len(grid) - 10)
    assert stats.source_pixels == 10 * grid.tile_size**2
    assert stats.seconds >= 0.5 > stats.waited
    assert stats.idle_share > 0.3
    assert "10 tiles at" in str(stats)


def test_gdals_cache_is_left_as_it_was(image: Path) -> None:
    """Passes at the same time limit it together. The last one to end gives it back."""
    before = get_gdal_config("GDAL_CACHEMAX")
    with ReaderPool(3, "thread") as pool:
        first = TileReader(image, grid_of(image), pool).batches(1)
        second = TileReader(image, grid_of(image), pool).batches(1)
        next(first)
        next(second)
        assert get_gdal_config("GDAL_CACHEMAX") < before
        first.close()
        assert get_gdal_config("GDAL_CACHEMAX") < before
        second.close()
    assert get_gdal_config("GDAL_CACHEMAX") == before
