"""Iterate over the tiles of an image as fast as the cores can decode the file.

    >>> grid = TileGrid(slide.height, slide.width, core=1536, pad=384, scale=3)  # doctest: +SKIP
    >>> for tile, pixels in TileReader(slide, grid, workers=2):                  # doctest: +SKIP
    ...     predict(tile, pixels)  # (3, 768, 768) uint8

Workers decode disjoint pieces of the image along the file's own blocks, each once, shrink them to
the network's scale and copy them into every tile that they touch; a tile is the consumer's once its
last piece is in. One reader alone reads each tile's window behind a cache instead (see
`tile_pass`). `make bench ONLY=reader`, 2 cores, 12000 x 12000 x 3, windows of 2304 with 384 of pad,
medians of 3 rounds, times the speed of a plain loop (rasterio, one process, handles kept):

| | LZW | deflate | JPEG | none | strips of 8 | of 1 | 3 pages |
|---|---|---|---|---|---|---|---|
| inline | 1.04 | .98 | 1.03 | 1.13 | 1.00 | 1.13 | 1.05 |
| 2 threads | 1.90 | 1.73 | 1.76 | 1.45 | 1.72 | 1.88 | 1.92 |
| 2 processes | 1.85 | 1.68 | 1.76 | 1.35 | 1.62 | 1.73 | 1.81 |
| torch's DataLoader, each worker its columns | 1.20 | .97 | .89 | .36 | .78 | .85 | 1.14 |
| the plain loop with GDAL's own threads | 1.63 | .98 | 1.49 | .75 | 1.64 | 1.10 | 1.00 |
| what decoding alone allows | 2.14 | 2.11 | 2.17 | 2.96 | 2.00 | 2.46 | 2.14 |

DataLoader hands over whole tiles, so what these share is decoded by both of its workers, and is
copied once more into a tensor; GDAL's threads do not read ahead of the consumer, and help where a
read spans many blocks of a kind that they know. Threads and processes share all their code and are
equally fast; processes are the default, since a decoder that dies over a broken file then costs one
image, not the notebook.
"""

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np

from kernelkit.grid import Tile, TileGrid
from kernelkit.reader.tile_pass import Batch, ReaderStats, ReadOptions, TilePass
from kernelkit.reader.workers import ReaderPool
from kernelkit.slide import Slide
from kernelkit.vocabulary import Fill

__all__ = ["Batch", "ReaderPool", "ReaderStats", "TileReader"]


class TileReader(AbstractContextManager):
    """Iterates over `(tile, pixels)` in the grid's order, the same bytes whatever the workers.

    `pixels` is (bands, net_size, net_size) in the image's dtype, an array of its own that the
    consumer may keep or change. A reader can be iterated again; each pass reads anew.

    `slide`    the image, or its path
    `grid`     its tiles
    `workers`  how many processes decode: 0 decodes in the calling thread, when a tile is asked for.
               Or a `ReaderPool`, which serves one reader after the other, and may use threads
    `indices`  which tiles to deliver, in ascending order; all by default
    `fill`     what lies outside the image: "zero", "reflect" or "edge"
    `strict`   raise SlideError where a block of the file cannot be decoded. Otherwise it is tried
               once more and then zeroed, and the tiles that see it are listed in `bad_tiles`
    `pin`      put the tiles into page-locked memory, from which a GPU copies without waiting
    `timeout`  seconds without any progress after which the workers are given up

    ReaderError means that a worker died or is stuck. Whatever happens, and also when the consumer
    leaves the loop, threads, processes, memory and files are given back.
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
        pin: bool = False,
        timeout: float = 300.0,
    ) -> None:
        if not isinstance(slide, Slide):
            slide = Slide(slide)
            slide.close()  # workers open the file for themselves
        self.slide = slide
        self.grid = grid
        self.workers = workers
        self.indices: Sequence[int] = range(len(grid)) if indices is None else indices
        self.options = ReadOptions(fill, strict, pin, timeout)
        self.stats = ReaderStats()
        self._begun: TilePass | None = None
        self._following: TileReader | None = None

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[tuple[Tile, np.ndarray]]:
        for batch in self.batches(1):
            yield batch.tiles[0], batch.pixels[0]

    def batches(self, size: int) -> Generator[Batch]:
        """Iterate over batches of `size` tiles, the last one smaller: (n, bands, h, w) at once."""
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
                    self._following.start(size)
                    self._following = None
                yield batch
        finally:
            self._end(run)

    def start(self, size: int = 1) -> None:
        """Begin to read ahead now, for a pass over batches of `size` tiles that will follow."""
        if self._begun is None:
            self._begun = self._new_pass(size)

    def then(self, following: "TileReader") -> None:
        """Have `following` read ahead as soon as the workers have this image's last piece."""
        self._following = following

    def _take(self, size: int) -> TilePass:
        """Return the pass that was started before, or a new one."""
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
        """The indices of the tiles that see a block that could not be decoded."""
        return self.stats.bad_tiles

    def close(self) -> None:
        """Stop reading ahead, if that was begun."""
        if self._begun is not None:
            self._end(self._begun)
            self._begun = None

    def __exit__(self, *_: object) -> None:
        self.close()
