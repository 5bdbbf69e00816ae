"""Which windows of an image to read, and which core of each counts: pure geometry.

A grid lays square tiles over an image. Each tile has a **read** window, what the network sees, and
a **core** inside it, the part whose prediction counts; the ring between the two is context. The
cores partition the image exactly: no pixel twice, none left out, none outside.

Rows are the image's first axis everywhere, and every length is in pixels of the source unless its
name says `net`, the network's scale, which is `scale` times smaller.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple, overload

from kernelkit.errors import GridError
from kernelkit.vocabulary import Edges

__all__ = ["Tile", "TileGrid", "Window"]


class Window(NamedTuple):
    """A rectangle of pixels, rows [row, row + height) and columns [col, col + width).

    It may reach outside its image, on any side, so `row` and `col` may be negative.
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
        """The window as two slices; only for one that starts inside its array."""
        return slice(self.row, self.bottom), slice(self.col, self.right)

    def intersection(self, other: "Window") -> "Window":
        """Return what the two windows share; of height or width 0 where they share nothing."""
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


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile: its place in the grid's order, what is read, and what of that counts."""

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

    A sequence of `Tile`: it has a length, is indexed and iterated, and costs no memory a tile.

    `core`   the side of the square that counts, and the step from one tile to the next
    `pad`    context on each side of it, so that every read window is a square of core + 2 pad
    `scale`  the network sees the image this many times smaller; it must divide core and pad
    `edges`  "pad": cores start at the image's corner, and tiles at the border read outside the
             image. "shift": tiles at the border are moved inward until they lie inside, so fewer
             are needed; the last ones still reach outside by less than `scale` pixels where the
             scale does not divide the image, and all do where the image is smaller than a tile

    Raises GridError where no such grid exists.
    """

    height: int
    width: int
    core: int
    pad: int = 0
    scale: int = 1
    edges: Edges = "pad"

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise GridError(f"an image of {self.height} x {self.width} pixels has no tiles")
        if self.core < 1 or self.pad < 0 or self.scale < 1:
            raise GridError(
                f"core {self.core}, pad {self.pad}, scale {self.scale}: core and scale must be at "
                "least 1, pad at least 0"
            )
        if self.core % self.scale or self.pad % self.scale:
            core, pad = (-(-side // self.scale) * self.scale for side in (self.core, self.pad))
            raise GridError(
                f"scale {self.scale} does not divide core {self.core} and pad {self.pad}; core "
                f"{core} and pad {pad} would do"
            )
        if self.edges not in ("pad", "shift"):
            raise GridError(f'edges are "pad" or "shift", not {self.edges!r}')

    @classmethod
    def from_overlap(
        cls,
        height: int,
        width: int,
        tile: int,
        overlap: int,
        scale: int = 1,
        edges: Edges = "pad",
    ) -> "TileGrid":
        """Lay tiles of side `tile` that share `overlap` pixels: half of it is each one's pad."""
        if not 0 <= overlap < tile or overlap % 2:
            raise GridError(
                f"an overlap of {overlap} does not fit tiles of {tile}: it must be even, at least "
                "0 and less than the tile"
            )
        return cls(height, width, tile - overlap, overlap // 2, scale, edges)

    @property
    def tile_size(self) -> int:
        """The side of every read window, in source pixels."""
        return self.core + 2 * self.pad

    @property
    def net_size(self) -> int:
        """The side of every tile as the network sees it."""
        return self.tile_size // self.scale

    @property
    def rows(self) -> int:
        """How many rows of tiles there are."""
        return len(self._row_spans)

    @property
    def columns(self) -> int:
        """How many tiles a row has."""
        return len(self._column_spans)

    @property
    def bounds(self) -> Window:
        """The smallest window that holds every read window."""
        top, left = self[0].read.row, self[0].read.col
        last = self[-1].read
        return Window(top, left, last.bottom - top, last.right - left)

    def band(self, row: int) -> range:
        """Return the indices of the tiles in one row of tiles."""
        if not 0 <= row < self.rows:
            raise IndexError(f"row {row} of a grid of {self.rows} rows of tiles")
        return range(row * self.columns, (row + 1) * self.columns)

    def bands(self) -> Iterator[range]:
        """Iterate over the rows of tiles, each as the indices of its tiles."""
        return map(self.band, range(self.rows))

    def tiles_for_rows(self, start: int, stop: int) -> range:
        """Return the indices of the tiles whose read windows touch image rows [start, stop)."""
        touching = [
            row
            for row, span in enumerate(self._row_spans)
            if span.read < stop and start < span.read + self.tile_size
        ]
        if not touching or start >= stop:
            return range(0)
        return range(self.band(touching[0]).start, self.band(touching[-1]).stop)

    def finished_rows(self, index: int, of: Literal["read", "core"] = "read") -> int:
        """Return how many rows at the top of the image are finished once tile `index` is done.

        No later tile's read window (`of="read"`, for blending) or core (`of="core"`, for pasting)
        touches them, given that the tiles come in order. `index` -1 means that none is done.
        """
        if not -1 <= index < len(self):
            raise IndexError(f"tile {index} of a grid of {len(self)}")
        row = (index + 1) // self.columns
        if row == self.rows:
            return self.height
        span = self._row_spans[row]
        return max(0, span.read if of == "read" else span.core)

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
            Window(row.read, column.read, self.tile_size, self.tile_size),
            Window(row.core, column.core, row.core_length, column.core_length),
        )

    @cached_property
    def _row_spans(self) -> list["_Span"]:
        return self._spans(self.height)

    @cached_property
    def _column_spans(self) -> list["_Span"]:
        return self._spans(self.width)

    def _spans(self, length: int) -> list["_Span"]:
        """Cut one axis into the tiles' spans."""
        if self.edges == "pad":
            return [
                _Span(start - self.pad, start, min(self.core, length - start))
                for start in range(0, length, self.core)
            ]
        # the last tile ends at the image's end, or up to scale - 1 pixels beyond: its pixels at the
        # network's scale must lie on the same lattice as everyone's
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
