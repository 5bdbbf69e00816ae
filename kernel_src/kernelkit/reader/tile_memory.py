"""How much memory a pass over tiles takes, and how much it spends on reading faster."""

import math

from kernelkit.errors import ReaderError
from kernelkit.grid import TileGrid
from kernelkit.reader.pieces import piece_size
from kernelkit.slide import Slide
from kernelkit.slide.budget import available_memory, in_words

__all__ = [
    "LARGEST_CACHE",
    "cache_bytes",
    "check_memory",
    "reads_best_by_tile",
    "row_bytes",
    "tiles_ahead",
]

# What the tiles that are read ahead may take, in bytes. Wide slides at full resolution reach it.
# 50 000 columns in tiles of 2304 peak at 0.9 GB over all processes (PSS) if the file is tiled. They
# peak at 1.15 GB in strips, which end a whole row of tiles at once. At scale 3 they take 0.3 GB.
_AHEAD_BYTES = 96 << 20
# Each worker gets at least this much cache of decoded blocks, in bytes.
_SMALLEST_CACHE = 16 << 20
# A cache that keeps what tiles share gets at most this much, in bytes.
LARGEST_CACHE = 512 << 20
# Two batches of fewer bytes are read without asking for the free memory.
_SMALL_BATCHES = 256 << 20


def check_memory(slide: Slide, grid: TileGrid, size: int) -> None:
    """Refuse tiles that the memory cannot hold: one batch, and the next that is read meanwhile.

    Raises
    ------
    ReaderError
        They need more than is free.
    """
    pixel = slide.bands * slide.dtype.itemsize
    needed = 2 * size * math.prod(grid.net_shape) * pixel
    if needed < _SMALL_BATCHES or needed <= (free := available_memory()):
        return
    side = math.isqrt(free // (2 * size * pixel)) * grid.scale - 2 * grid.pad
    unit = math.lcm(grid.scale, 32)
    height, width = grid.tile_shape
    raise ReaderError(
        f"{slide.paths[0]}: two batches of {size} tiles of {height} x {width} "
        f"pixels take {in_words(needed)}, and {in_words(free)} of memory is free. Choose a core of "
        f"at most {max(unit, side // unit * unit)}"
    )


def tiles_ahead(slide: Slide, grid: TileGrid) -> int:
    """Return how many tiles to read ahead of the caller: half a row and a few.

    A strip of a file ends a whole row of tiles at once. While the caller works on the rest of that
    row, the next row is decoded.
    """
    tile_bytes = slide.bands * math.prod(grid.net_shape) * slide.dtype.itemsize
    return max(2, min(_AHEAD_BYTES // tile_bytes, 4 + grid.columns // 2))


def reads_best_by_tile(slide: Slide, grid: TileGrid, workers: int) -> bool:
    """Whether reading each tile's whole window is faster than reading disjoint pieces once.

    At full resolution a window lands in its tile without a copy. That is 1.1 to 1.2 times as fast,
    unless what tiles share is decoded twice. One reader finds it in its cache, if it fits there.
    Blocks that are not compressed cost no more to read than to copy. Strips are the exception,
    because each tile wants only a part of a strip.
    """
    if grid.scale > 1:
        return False
    if slide.compressed:
        return not workers and row_bytes(slide, grid) <= LARGEST_CACHE
    return slide.block[1] < slide.width


def row_bytes(slide: Slide, grid: TileGrid) -> int:
    """Return how many bytes the blocks take that a row of tiles touches."""
    rows = grid.tile_shape[0] + 2 * slide.block[0]
    return rows * (grid.bounds.width + slide.block[1]) * slide.bands * slide.dtype.itemsize


def cache_bytes(slide: Slide, grid: TileGrid) -> int:
    """Return how many bytes a worker's cache must hold: twice the blocks that a piece touches."""
    rows, columns = map(sum, zip(piece_size(grid, slide.block), slide.block, strict=True))
    return max(_SMALLEST_CACHE, 2 * rows * columns * slide.bands * slide.dtype.itemsize)
