"""Cut an image into the pieces that workers decode: each block of the file once.

Read windows overlap. So workers that read tile by tile decode most blocks of the file twice or
more. Pieces are disjoint, and follow the file's own blocks. The worker that decodes a piece copies
it into every tile that it touches. One reader alone may be faster with whole tiles and a cache.
This is pure geometry: nothing here reads or allocates.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from kernelkit.grid import Tile, TileGrid, Window

__all__ = ["Piece", "cut_pieces", "piece_size", "whole_tiles"]

# What one piece decodes, in pixels. It is little enough that workers finish together. It is enough
# that handing it over costs nothing beside decoding it, which takes some 20 ms.
_PIECE_AREA = 1 << 20
_PIECE_ROWS = 256


@dataclass(frozen=True, slots=True)
class Piece:
    """A rectangle of the source to decode at once, and the tiles that need it.

    Attributes
    ----------
    window
        In source pixels. It reaches outside the image if read windows do.
    tiles
        Positions in the sequence of tiles to deliver, ascending.
    """

    window: Window
    tiles: tuple[int, ...]


def cut_pieces(grid: TileGrid, block: tuple[int, int], tiles: Sequence[Tile]) -> list[Piece]:
    """Return the pieces that some tiles of a grid need, in the order of the first need.

    The pieces are disjoint and cover every read window. Their corners are multiples of the scale.
    They are multiples of the blocks too, except at the grid's own border.

    Parameters
    ----------
    grid
        The grid of the tiles.
    block
        Height and width of what the file decodes at once.
    tiles
        The tiles to deliver, in their order.
    """
    bounds = grid.bounds
    height, width = piece_size(grid, block)
    # whole blocks, counted from the image's corner: read windows at the border go beyond it
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
    # A dict keeps its order, that of the first tile that needs a piece. Within one tile the pieces
    # come from the top left.
    return [
        Piece(
            Window(top + row * height, left + column * width, height, width).intersection(bounds),
            tuple(positions),
        )
        for (row, column), positions in needed_by.items()
    ]


def whole_tiles(tiles: Sequence[Tile]) -> list[Piece]:
    """Return each tile's read window as a piece of its own. These pieces overlap."""
    return [Piece(tile.read, (position,)) for position, tile in enumerate(tiles)]


def piece_size(grid: TileGrid, block: tuple[int, int]) -> tuple[int, int]:
    """Return the height and width of a piece: whole blocks that the scale divides."""
    unit_height, unit_width = (math.lcm(side, grid.scale) for side in block)
    width = grid.bounds.width
    if unit_width >= grid.width:  # strips, or an image as narrow as a tile of its file
        rows = min(_PIECE_AREA // width, grid.core)
        return max(1, rows // unit_height) * unit_height, width
    height = max(1, _PIECE_ROWS // unit_height) * unit_height
    return height, max(1, _PIECE_AREA // (height * unit_width)) * unit_width
