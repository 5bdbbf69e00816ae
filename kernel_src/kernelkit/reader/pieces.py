"""Cut an image into the pieces that workers decode: each block of the file once.

Read windows overlap, so workers that read tile by tile decode most blocks of the file twice or
more. Pieces are disjoint, and follow the file's own blocks: whoever decodes one copies it into
every tile that it touches. One reader alone may do better with whole tiles and a cache.
Pure geometry: nothing here reads or allocates.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from kernelkit.grid import Tile, TileGrid, Window

__all__ = ["Piece", "cut_pieces", "piece_size", "whole_tiles"]

# What one piece decodes, in pixels: little enough that workers finish together, and enough that
# handing it over costs nothing beside decoding it (some 20 ms).
_PIECE_AREA = 1 << 20
_PIECE_ROWS = 256


@dataclass(frozen=True, slots=True)
class Piece:
    """A rectangle of the source to decode at once, and the places in the queue of its tiles.

    `window` is in source pixels, and reaches outside the image where read windows do. `tiles` are
    positions in the sequence of tiles that is to be delivered, ascending.
    """

    window: Window
    tiles: tuple[int, ...]


def cut_pieces(grid: TileGrid, block: tuple[int, int], tiles: Sequence[Tile]) -> list[Piece]:
    """Return the pieces that some tiles of a grid need, in the order of the first need.

    `block` is the (height, width) of what the file decodes at once. The pieces are disjoint and
    cover every read window; their corners are multiples of the scale, and of the blocks except at
    the grid's own border.
    """
    bounds = grid.bounds
    height, width = piece_size(grid, block)
    # whole blocks from the image's corner, which read windows at the border go beyond
    top = bounds.row // math.lcm(block[0], grid.scale) * math.lcm(block[0], grid.scale)
    left = bounds.col
    if width < bounds.width:
        left = bounds.col // math.lcm(block[1], grid.scale) * math.lcm(block[1], grid.scale)
    needed_by: dict[tuple[int, int], list[int]] = {}
    for position, tile in enumerate(tiles):
        read = tile.read
        for row in range((read.row - top) // height, -(-(read.bottom - top) // height)):
            for column in range((read.col - left) // width, -(-(read.right - left) // width)):
                needed_by.setdefault((row, column), []).append(position)
    # a dict keeps its order: that of the first tile to need a piece, from the top left within one
    return [
        Piece(
            Window(top + row * height, left + column * width, height, width).intersection(bounds),
            tuple(positions),
        )
        for (row, column), positions in needed_by.items()
    ]


def whole_tiles(tiles: Sequence[Tile]) -> list[Piece]:
    """Return each tile's read window as a piece of its own: they overlap."""
    return [Piece(tile.read, (position,)) for position, tile in enumerate(tiles)]


def piece_size(grid: TileGrid, block: tuple[int, int]) -> tuple[int, int]:
    """Return the height and width of a piece: whole blocks, which the scale divides."""
    unit_height, unit_width = (math.lcm(side, grid.scale) for side in block)
    width = grid.bounds.width
    if unit_width >= grid.width:  # strips, or an image as narrow as a tile of its file
        rows = min(_PIECE_AREA // width, grid.core)
        return max(1, rows // unit_height) * unit_height, width
    height = max(1, _PIECE_ROWS // unit_height) * unit_height
    return height, max(1, _PIECE_AREA // (height * unit_width)) * unit_width
