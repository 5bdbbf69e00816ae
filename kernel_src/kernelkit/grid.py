"""Which windows of an image to read, and which core of each counts: pure geometry.

A grid lays tiles over an image. Each tile has a **read** window, which the network sees. It has a
**core** inside of that, the part whose prediction counts. The ring between the two is context. The
cores partition the image exactly: no pixel lies in two, none outside, none is left out. Tiles are
square, unless the image is so narrow that a part of one is enough.

Rows are the image's first axis everywhere. Every length is in pixels of the source, unless its name
says `net`. That is the network's scale, which is `scale` times smaller.
"""

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, get_args, overload

from affine import Affine

from kernelkit.errors import GridError
from kernelkit.vocabulary import Edges, choices

__all__ = ["Tile", "TileGrid", "Window", "placed"]

# Far more than any run can predict. A canvas takes a byte for each.
_MOST_TILES = 1 << 26
# Sides of clipped tiles are multiples of this, as most networks want it, in their own pixels.
_UNIT = 32
# No side is clipped below this, because some networks pool what they see four times more.
_LEAST_SIDE = 64


class Window(NamedTuple):
    """A rectangle of pixels, rows [row, row + height) and columns [col, col + width).

    It may reach outside of its image on any side, so `row` and `col` may be negative.

    Attributes
    ----------
    row, col
        Its upper left pixel.
    height, width
        How many rows and columns it has.
    """

    row: int
    col: int
    height: int
    width: int

    @property
    def bottom(self) -> int:
        """The row after the last."""
        return self.row + self.height

    @property
    def right(self) -> int:
        """The column after the last."""
        return self.col + self.width

    @property
    def area(self) -> int:
        """Pixels in the window."""
        return self.height * self.width

    @property
    def slices(self) -> tuple[slice, slice]:
        """The window as two slices. It must start inside its array."""
        return slice(self.row, self.bottom), slice(self.col, self.right)

    def intersection(self, other: "Window") -> "Window":
        """Return what the two windows share. If that is nothing, a side of it is 0."""
        row, col = max(self.row, other.row), max(self.col, other.col)
        height = max(0, min(self.bottom, other.bottom) - row)
        width = max(0, min(self.right, other.right) - col)
        return Window(row, col, height, width)

    def relative_to(self, other: "Window") -> "Window":
        """Return the same rectangle, counted from the upper left corner of `other`."""
        return Window(self.row - other.row, self.col - other.col, self.height, self.width)

    def shrunk(self, scale: int) -> "Window":
        """Return the pixels of the image `scale` times smaller that the window touches."""
        row, col = self.row // scale, self.col // scale
        return Window(row, col, -(-self.bottom // scale) - row, -(-self.right // scale) - col)

    def __str__(self) -> str:
        return f"rows {self.row}:{self.bottom}, columns {self.col}:{self.right}"


def placed(window: Window, transform: Affine, shape: tuple[int, int] | None = None) -> Affine:
    """Return the transform of a window of an image, from its own columns and rows to the map.

    Parameters
    ----------
    window
        The window.
    transform
        That of the image.
    shape
        Rows and columns that the window was resized to. None keeps its own.
    """
    rows, columns = (window.height, window.width) if shape is None else shape
    wide, high = (window.width / columns, window.height / rows) if rows and columns else (1, 1)
    a, b, c, d, e, f = transform[:6]
    column, row = window.col, window.row
    return Affine(
        *(a * wide, b * high, a * column + b * row + c),
        *(d * wide, e * high, d * column + e * row + f),
    )


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile of a grid.

    Attributes
    ----------
    index
        Its place in the grid's order.
    read
        What is read: the core and the pads around it.
    core
        What of that counts.
    """

    index: int
    read: Window
    core: Window

    @property
    def inner(self) -> Window:
        """The core, counted from the upper left corner of the read window."""
        return self.core.relative_to(self.read)


@dataclass(frozen=True)
class TileGrid(Sequence[Tile]):
    """The tiles of an image of `height` x `width`, row by row from the upper left.

    It is a sequence of `Tile`, with a length, indices and slices. Tiles take no memory: each is
    worked out when it is asked for.

    Parameters
    ----------
    height, width
        The image, in pixels.
    core
        The side of the square that counts, and the step from one tile to the next.
    pad
        Context on each side of the core. A read window is a square of side core + 2 pad.
    scale
        The network sees the image this many times smaller. It must divide `core` and `pad`.
    edges
        With "pad", cores start at the image's corner. Tiles at the border read outside of the
        image. With "shift", tiles at the border are moved inward until they lie inside, so fewer
        are needed. If the scale does not divide the image, the last ones still reach outside, by
        less than `scale` pixels. If the image is smaller than a tile, all do.
    clipped
        Whether tiles are halved along an axis while half of one is twice as long as the image. The
        network then still sees as much beside the image as of it. No side becomes less than 64
        pixels of the network. The image lies in the middle, as far as `pad` allows.

    Raises
    ------
    GridError
        No such grid exists.
    """

    height: int
    width: int
    core: int
    pad: int = 0
    scale: int = 1
    edges: Edges = "pad"
    clipped: bool = False

    def __post_init__(self) -> None:
        for name in ("height", "width", "core", "pad", "scale"):
            object.__setattr__(self, name, _whole(name, getattr(self, name)))
        if self.height < 1 or self.width < 1:
            raise GridError(
                f"an image of {self.height} x {self.width} pixels has no tiles. It needs at least "
                "one pixel"
            )
        if self.core < 1 or self.pad < 0 or self.scale < 1:
            raise GridError(
                f"core {self.core}, pad {self.pad}, scale {self.scale} make no grid. Core and "
                "scale must be at least 1, pad at least 0"
            )
        if self.core % self.scale or self.pad % self.scale:
            core, pad = (-(-side // self.scale) * self.scale for side in (self.core, self.pad))
            raise GridError(
                f"scale {self.scale} does not divide core {self.core} and pad {self.pad}. Core "
                f"{core} and pad {pad} would do"
            )
        if self.edges not in get_args(Edges):
            raise GridError(f"edges are {choices(Edges)}, not {self.edges!r}")
        tiles = -(-self.height // self.core) * -(-self.width // self.core)
        if tiles > _MOST_TILES:
            raise GridError(
                f"core {self.core} makes {tiles} tiles of an image of {self.height} x {self.width}"
                f" pixels. At most {_MOST_TILES} can be kept track of. Enlarge the core"
            )

    @property
    def tile_size(self) -> int:
        """The side of a read window that is not clipped, in source pixels."""
        return self.core + 2 * self.pad

    @property
    def net_size(self) -> int:
        """The side of a tile that is not clipped, as the network sees it."""
        return self.tile_size // self.scale

    @cached_property
    def tile_shape(self) -> tuple[int, int]:
        """The height and width of every read window, in source pixels."""
        height, width = self.net_shape
        return height * self.scale, width * self.scale

    @cached_property
    def net_shape(self) -> tuple[int, int]:
        """The height and width of every tile as the network sees it."""
        return self._net_side(self.height), self._net_side(self.width)

    @property
    def rows(self) -> int:
        """The number of rows of tiles."""
        return len(self._row_spans)

    @property
    def columns(self) -> int:
        """The number of tiles per row."""
        return len(self._column_spans)

    @property
    def bounds(self) -> Window:
        """The smallest window that holds every read window."""
        top, left = self[0].read.row, self[0].read.col
        last = self[-1].read
        return Window(top, left, last.bottom - top, last.right - left)

    def __len__(self) -> int:
        return self.rows * self.columns

    @overload
    def __getitem__(self, index: int) -> Tile: ...
    @overload
    def __getitem__(self, index: slice) -> list[Tile]: ...
    def __getitem__(self, index: int | slice) -> Tile | list[Tile]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"tile {index} of a grid of {len(self)}")
        index %= len(self)
        row = self._row_spans[index // self.columns]
        column = self._column_spans[index % self.columns]
        return Tile(
            index,
            Window(row.read, column.read, *self.tile_shape),
            Window(row.core, column.core, row.core_length, column.core_length),
        )

    @cached_property
    def _row_spans(self) -> list["_Span"]:
        return self._spans(self.height, self.net_shape[0])

    @cached_property
    def _column_spans(self) -> list["_Span"]:
        return self._spans(self.width, self.net_shape[1])

    def _net_side(self, length: int) -> int:
        """The side of the tiles along an axis of `length` pixels, as the network sees it."""
        side, needed = self.net_size, max(_LEAST_SIDE, 2 * -(-length // self.scale))
        while self.clipped and needed <= (half := -(-side // 2 // _UNIT) * _UNIT) < side:
            side = half
        return side

    def _spans(self, length: int, net_side: int) -> list["_Span"]:
        """Cut one axis into the tiles' spans."""
        if net_side < self.net_size:  # one tile, with the image in its middle
            beside = (net_side - -(-length // self.scale)) // 2 * self.scale
            return [_Span(-min(self.pad, beside) if self.edges == "pad" else 0, 0, length)]
        if self.edges == "pad":
            return [
                _Span(start - self.pad, start, min(self.core, length - start))
                for start in range(0, length, self.core)
            ]
        # The last tile ends at the image's end, or up to scale - 1 pixels beyond. Its pixels at
        # the network's scale must lie on the same lattice as those of all others.
        last = -(-max(0, length - self.tile_size) // self.scale) * self.scale
        reads = [*range(0, last, self.core), last]
        cores = [0, *(read + self.pad for read in range(self.core, last, self.core))]
        if last > 0:
            cores.append(reads[-2] + self.core + self.pad)
        ends = [*cores[1:], length]
        return [
            _Span(read, core, end - core)
            for read, core, end in zip(reads, cores, ends, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class _Span:
    """A tile along one axis: where its read window and its core start, how long the core is."""

    read: int
    core: int
    core_length: int


def _whole(name: str, number: Any) -> int:
    """A length as Python's own whole number, which cannot overflow."""
    try:
        return operator.index(number)
    except TypeError:
        raise GridError(f"a grid's {name} was {number!r:.60}. It needs whole numbers") from None
