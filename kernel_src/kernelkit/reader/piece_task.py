"""What a worker does with a piece of an image: it decodes it and copies it into its tiles."""

import math
import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from kernelkit.errors import SlideError
from kernelkit.grid import Window
from kernelkit.reader.open_slides import OpenSlides
from kernelkit.reader.shared import LocalArray, SharedArena
from kernelkit.slide import Slide
from kernelkit.vocabulary import Fill

__all__ = ["PieceResult", "PieceTask", "Target"]

# These are tuples because a dataclass takes five times as long to pickle. A piece has some twenty
# targets.


class Target(NamedTuple):
    """Where a part of a piece goes, in pixels of the network's scale.

    Attributes
    ----------
    memory
        Holds the tiles.
    tile
        Which of them.
    part
        The part of the piece, counted from the piece's corner.
    place
        Its place in the tile, counted from the tile's corner.
    """

    memory: LocalArray | SharedArena
    tile: int
    part: Window
    place: Window

    @property
    def pixels(self) -> np.ndarray:
        """The place as a view of the tile, (bands, rows, columns)."""
        return self.memory.array[self.tile][(slice(None), *self.place.slices)]


class PieceTask(NamedTuple):
    """What a worker must know to decode one piece of an image and copy it into its tiles.

    Attributes
    ----------
    source
        The pickled slide, which is its path. Workers keep slides open by it.
    window
        What to decode, in pixels of the source.
    targets
        Where its parts go.
    scale, fill
        As of `Slide.read`.
    strict
        Whether a block that does not decode is an error.
    cache_bytes
        The size of a worker process's cache of decoded blocks.
    in_order
        Whether one worker process should decode all pieces of the slide.
    """

    source: bytes
    window: Window
    targets: tuple[Target, ...]
    scale: int
    fill: Fill
    strict: bool
    cache_bytes: int
    in_order: bool = False

    @property
    def together(self) -> bytes | None:
        """What pieces share that one worker should decode."""
        return self.source if self.in_order else None

    def run(self, slides: OpenSlides) -> "PieceResult":
        """Decode the piece into its tiles, block by block if it fails as a whole."""
        started = time.perf_counter()
        try:
            slide = slides.open(self.source)
        except SlideError as error:
            raise SlideError(f"{error}. It was to be read at {self.window}") from error
        first, *others = self.targets
        wanted_whole = not others and first.part.area == self.window.area // self.scale**2
        straight = first.pixels if wanted_whole else None
        bad: list[Window] = []
        try:
            pixels = slide.read(self.window, self.scale, self.fill, out=straight)
        except SlideError:
            pixels, bad = _read_what_is_left(slide, self)
        if pixels is not straight:
            for target in self.targets:
                target.pixels[...] = pixels[(slice(None), *target.part.slices)]
        return PieceResult(time.perf_counter() - started, tuple(bad))


class PieceResult(NamedTuple):
    """How long a piece took, in seconds, and the windows that would not decode and were zeroed."""

    seconds: float
    bad: tuple[Window, ...]


def _read_what_is_left(slide: Slide, task: PieceTask) -> tuple[np.ndarray, list[Window]]:
    """Read a piece block by block. Return it, and the windows that were zeroed instead."""
    whole = task.window.shrunk(task.scale)
    pixels = np.zeros((slide.bands, whole.height, whole.width), slide.dtype)
    bad: list[Window] = []
    for cell in _cells(task.window, *(math.lcm(side, task.scale) for side in slide.block)):
        wanted = cell.intersection(task.window)
        place = wanted.relative_to(task.window).shrunk(task.scale)
        # what lies outside may mirror a bad block, so the cell is tried without it too
        for fill in dict.fromkeys((task.fill, "zero")):
            try:
                pixels[(slice(None), *place.slices)] = slide.read(wanted, task.scale, fill)
                break
            except SlideError:
                if task.strict:
                    raise
        else:
            _add(cell.intersection(slide.bounds), bad)
    return pixels, bad


def _add(window: Window, windows: list[Window]) -> None:
    """Add a window to a list, as a part of the last one if it lies right below that."""
    last = windows[-1] if windows else None
    if last and (last.bottom, last.col, last.width) == (window.row, window.col, window.width):
        windows[-1] = last._replace(height=last.height + window.height)
    else:
        windows.append(window)


def _cells(window: Window, height: int, width: int) -> Iterator[Window]:
    """Iterate over the cells of `height` x `width` that a window touches."""
    for row in range(window.row // height * height, window.bottom, height):
        for col in range(window.col // width * width, window.right, width):
            yield Window(row, col, height, width)
