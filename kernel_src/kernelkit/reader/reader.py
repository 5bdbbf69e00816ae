"""Iterate over the tiles of an image as fast as the cores can decode the file.

    grid = TileGrid(slide.height, slide.width, core=1536, pad=384, scale=3)
    for tile, pixels in TileReader(slide, grid, workers=2):
        predict(tile, pixels)  # (3, 768, 768) uint8

Workers decode disjoint pieces of the image along the file's own blocks, each piece once. They
shrink a piece to the network's scale and copy it into every tile that it touches. The caller gets a
tile once its last piece is in. One reader alone reads each tile's window behind a cache instead,
see `tile_pass`. `docs/benchmarks.md` has the speeds beside those of other readers.

Threads and processes share all their code and are equally fast. Processes are the default. If a
decoder dies over a broken file, that costs one image and not the notebook.
"""

import contextlib
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np

from kernelkit.grid import Tile, TileGrid
from kernelkit.reader.stats import ReaderStats
from kernelkit.reader.tile_pass import Batch, ReadOptions, TilePass
from kernelkit.reader.workers import ReaderPool, check_workers
from kernelkit.slide import Slide
from kernelkit.vocabulary import Fill

__all__ = ["Batch", "ReaderPool", "ReaderStats", "TileReader"]


class TileReader(AbstractContextManager):
    """The tiles of an image: iterating gives `(tile, pixels)` in the grid's order.

    `pixels` is (bands, *net_shape) in the image's dtype. The bytes do not depend on the
    workers. Each array is the caller's own, to keep or to change. A reader can be iterated again,
    and then reads again. The end of a pass gives back threads, processes, memory and files. So does
    a caller that leaves the loop early.

    Parameters
    ----------
    slide
        The image, or its path.
    grid
        Its tiles.
    workers
        How many processes decode. 0 decodes in the calling thread, one tile at a time. A
        `ReaderPool` serves several readers, one after the other, and may use threads.
    indices
        Which tiles to deliver, in ascending order. None delivers all.
    fill
        What stands outside the image: "zero", "reflect" or "edge".
    strict
        Raise SlideError if a block of the file cannot be decoded. Otherwise the block is tried once
        more and then zeroed. `bad_tiles` lists the tiles that see it.
    timeout
        After so many seconds without progress the workers are given up.

    Attributes
    ----------
    stats
        What the last pass delivered, and who waited for whom.

    Raises
    ------
    SlideError
        The image is missing or gone, or a block does not decode and `strict` is on.
    ReaderError
        A worker died or is stuck.
    """

    def __init__(
        self,
        slide: Slide | str | Path,
        grid: TileGrid,
        workers: int | ReaderPool = 0,
        *,
        indices: Sequence[int] | None = None,
        fill: Fill = "zero",
        strict: bool = False,
        timeout: float = 300.0,
    ) -> None:
        if not isinstance(slide, Slide):
            slide = Slide(slide)
            slide.close()  # workers open the file for themselves
        if not isinstance(workers, ReaderPool):
            check_workers(workers)
        self.slide = slide
        self.grid = grid
        self.workers = workers
        self.indices: Sequence[int] = range(len(grid)) if indices is None else indices
        self.options = ReadOptions(fill, strict, timeout)
        self.stats = ReaderStats()
        self._begun: TilePass | None = None
        self._following: TileReader | None = None

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[tuple[Tile, np.ndarray]]:
        for batch in self.batches(1):
            yield batch.tiles[0], batch.pixels[0]

    def batches(self, size: int) -> Generator[Batch]:
        """Iterate over batches of `size` tiles, (n, bands, h, w). The last one may be smaller."""
        run = self._take(size)
        stats = self.stats = run.stats
        started = time.perf_counter()
        try:
            while True:
                asked = time.perf_counter()
                batch = run.next_batch()
                now = time.perf_counter()
                stats.waited += now - asked
                stats.waited_for_first = stats.waited_for_first or now - asked
                stats.seconds = now - started
                if batch is None:
                    return
                stats.tiles += len(batch.tiles)
                stats.source_pixels += sum(tile.read.area for tile in batch.tiles)
                if self._following is not None and run.all_handed_over:
                    # what is wrong with the next image is said at its own turn
                    with contextlib.suppress(Exception):
                        self._following.start(size)
                    self._following = None
                yield batch
        finally:
            self._end(run)

    def start(self, size: int = 1) -> None:
        """Begin to read ahead now, for a later pass over batches of `size` tiles."""
        if self._begun is None:
            self._begun = self._new_pass(size)

    def then(self, following: "TileReader") -> None:
        """Have the reader `following` read ahead once the workers have this image's last piece."""
        self._following = following

    def _take(self, size: int) -> TilePass:
        """Return the pass that `start` began, or a new one."""
        run, self._begun = self._begun, None
        if run is not None and run.size != size:
            self._end(run)
            run = None
        return run or self._new_pass(size)

    def _new_pass(self, size: int) -> TilePass:
        workers = self.workers
        pool = workers if isinstance(workers, ReaderPool) else ReaderPool(workers)
        return TilePass(self.slide, self.grid, self.indices, pool, self.options, size)

    def _end(self, run: TilePass) -> None:
        run.close()
        if run.pool is not self.workers:
            run.pool.close()

    @property
    def bad_tiles(self) -> list[int]:
        """The indices of the tiles with a block that could not be decoded."""
        return self.stats.bad_tiles

    def close(self) -> None:
        """Stop reading ahead, if that has begun."""
        if self._begun is not None:
            self._end(self._begun)
            self._begun = None

    def __exit__(self, *_: object) -> None:
        self.close()
