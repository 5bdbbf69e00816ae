"""Iterate over the tiles of an image, read ahead of the consumer.

>>> grid = TileGrid(slide.height, slide.width, core=1536, pad=384, scale=3)  # doctest: +SKIP
>>> for tile, pixels in TileReader(slide, grid, workers=2):                  # doctest: +SKIP
...     predict(tile, pixels)  # (3, 768, 768) uint8
"""

import collections
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from kernelkit.errors import SlideError
from kernelkit.grid import Tile, TileGrid
from kernelkit.pixels import Fill
from kernelkit.slide import Slide

__all__ = ["ReaderStats", "TileReader"]


@dataclass
class ReaderStats:
    """What a reader has delivered, and who waited for whom."""

    tiles: int = 0
    source_pixels: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    bad_tiles: list[int] = field(default_factory=list)

    @property
    def mpx_per_second(self) -> float:
        """Source pixels of the windows delivered, in millions a second."""
        return self.source_pixels / 1e6 / self.seconds if self.seconds else 0.0

    @property
    def waited_share(self) -> float:
        """The share of the run that the consumer spent waiting for tiles."""
        return self.waited / self.seconds if self.seconds else 0.0


class TileReader:
    """Iterates over `(tile, pixels)` in the grid's order, whatever the number of workers.

    `pixels` is (bands, net_size, net_size) in the image's dtype, an array of its own that the
    consumer may keep or change. A tile that cannot be decoded is tried once more, then filled with
    zeros and listed in `bad_tiles`, or, with `strict`, raised as SlideError.

    `indices`  which tiles of the grid to deliver, in ascending order; all by default
    `fill`     what lies outside the image: "zero", "reflect" or "edge"
    """

    def __init__(
        self,
        slide: Slide | str | Path,
        grid: TileGrid,
        workers: int = 0,
        *,
        indices: Sequence[int] | None = None,
        strict: bool = False,
        fill: Fill = "zero",
    ) -> None:
        self.slide = slide if isinstance(slide, Slide) else Slide(slide)
        self.grid = grid
        self.workers = workers
        self.indices = range(len(grid)) if indices is None else indices
        self.strict = strict
        self.fill: Fill = fill
        self.stats = ReaderStats()
        self._local = threading.local()

    @property
    def bad_tiles(self) -> list[int]:
        """The indices of the tiles that were filled because they could not be decoded."""
        return self.stats.bad_tiles

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[tuple[Tile, np.ndarray]]:
        self.stats = ReaderStats()
        started = time.perf_counter()
        source = self._ahead() if self.workers else map(self._read, self.indices)
        while True:
            asked = time.perf_counter()
            item = next(source, None)
            now = time.perf_counter()
            self.stats.waited += now - asked
            self.stats.seconds = now - started
            if item is None:
                return
            tile, pixels, good = item
            self.stats.tiles += 1
            self.stats.source_pixels += tile.read.area
            if not good:
                self.stats.bad_tiles.append(tile.index)
            yield tile, pixels

    def _ahead(self) -> Iterator[tuple[Tile, np.ndarray, bool]]:
        with ThreadPoolExecutor(self.workers) as pool:
            queue = collections.deque(
                pool.submit(self._read, index) for index in self.indices[: 2 * self.workers]
            )
            try:
                for index in [*self.indices[2 * self.workers :], *[None] * len(queue)]:
                    yield queue.popleft().result()
                    if index is not None:
                        queue.append(pool.submit(self._read, index))
            finally:
                pool.shutdown(cancel_futures=True)

    def _read(self, index: int) -> tuple[Tile, np.ndarray, bool]:
        if not hasattr(self._local, "slide"):
            self._local.slide = Slide(self.slide.paths)
        tile = self.grid[index]
        for last in (False, True):
            try:
                pixels = self._local.slide.read(tile.read, self.grid.scale, self.fill)
                return tile, pixels, True
            except SlideError:
                if last and self.strict:
                    raise
        side = self.grid.net_size
        return tile, np.zeros((self.slide.bands, side, side), self.slide.dtype), False

    def close(self) -> None:
        """Close the image."""
        self.slide.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
