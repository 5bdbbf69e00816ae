"""One pass over the tiles of an image: pieces go to the workers, tiles come back in order."""

import collections
import pickle
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

import numpy as np

from kernelkit.errors import ReaderDiedError, ReaderError
from kernelkit.grid import Tile, TileGrid, Window
from kernelkit.memory import killed_in_words
from kernelkit.reader.piece_task import PieceResult, PieceTask, Target
from kernelkit.reader.pieces import Piece, cut_pieces, whole_tiles
from kernelkit.reader.shared import LocalArray, SharedArena
from kernelkit.reader.stats import ReaderStats
from kernelkit.reader.tile_memory import (
    LARGEST_CACHE,
    cache_bytes,
    check_memory,
    reads_best_by_tile,
    row_bytes,
    tiles_ahead,
)
from kernelkit.reader.workers import ReaderPool
from kernelkit.slide import Slide
from kernelkit.slide.block_cache import BlockCacheLimit
from kernelkit.vocabulary import Fill

__all__ = ["Batch", "ReadOptions", "TilePass"]

# How long workers may take to finish their pieces after the caller has left, in seconds.
_GRACE = 10.0


@dataclass(frozen=True, slots=True)
class Batch:
    """Some tiles and their pixels.

    Attributes
    ----------
    tiles
        In the grid's order.
    pixels
        (n, bands, *net_shape) in the image's dtype.
    """

    tiles: list[Tile]
    pixels: np.ndarray


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How tiles are read, as `TileReader` describes it."""

    fill: Fill
    strict: bool
    timeout: float


class TilePass:
    """One pass over the tiles `indices` of a slide, `size` at a time, through a pool of workers.

    Workers get the pieces in the order in which the tiles need them, `_ahead` tiles before the
    caller does. A batch gets its memory when the first piece that touches it is handed over. The
    memory is the caller's once the last piece has been decoded.

    Attributes
    ----------
    size
        Tiles per batch.
    stats
        What has been delivered so far.
    pool
        The workers.
    """

    def __init__(
        self,
        slide: Slide,
        grid: TileGrid,
        indices: Sequence[int],
        pool: ReaderPool,
        options: ReadOptions,
        size: int,
    ) -> None:
        check_memory(slide, grid, size)
        self.size = size
        self.stats = ReaderStats(pool.workers, skipped=len(grid) - len(indices))
        self._slide, self._grid = slide, grid
        self._tiles = [grid[index] for index in indices]
        self.pool, self._options = pool, options
        self._cache_bytes = cache_bytes(slide, grid)
        if reads_best_by_tile(slide, grid, pool.workers):
            pieces = whole_tiles(self._tiles)
            if not pool.workers:
                self._cache_bytes = min(row_bytes(slide, grid), LARGEST_CACHE)
        else:
            pieces = cut_pieces(grid, slide.block, self._tiles)
        self._waiting = collections.deque(pieces)
        self._running: collections.deque[tuple[Piece, Future[PieceResult]]] = collections.deque()
        self._slots: dict[int, tuple[LocalArray | SharedArena, int]] = {}
        self._batch_shape = (size, slide.bands, *grid.net_shape)
        self._arena: SharedArena | None = None
        pool.start()
        # Threads do not need it. But their own memory would fragment the heap, by 0.1 GB.
        if pool.workers:
            try:
                self._arena = pool.arena(self._batch_shape, slide.dtype)
                self._arena.use()
            except (OSError, ReaderError) as error:
                if not pool.shares_memory:
                    pool.use_threads(error)
        self._bad_windows: list[Window] = []
        self._delivered = 0
        self._source = pickle.dumps(slide)
        self._cache_limit = BlockCacheLimit(self._cache_bytes * max(1, pool.workers))
        self._ahead = tiles_ahead(slide, grid) if pool.workers else 0
        if pool.workers:
            self._hand_over(size)

    @property
    def all_handed_over(self) -> bool:
        """Whether the workers have been given the last piece."""
        return not self._waiting

    def next_batch(self) -> Batch | None:
        """Return the next batch, None after the last.

        Raises
        ------
        SlideError
            The image is gone, or a block cannot be decoded and `strict` is on.
        ReaderError
            A worker died or is stuck.
        """
        first = self._delivered
        count = min(self.size, len(self._tiles) - first)
        if not count:
            return None
        self._hand_over(first + count)
        self._wait_for_tiles(first + count)
        self._delivered += count
        tiles = self._tiles[first : first + count]
        self._note_bad_tiles(tiles)
        return Batch(tiles, self._take_batch(first // self.size)[:count])

    def close(self) -> None:
        """Cancel pieces that have not begun, wait for the others, and give the memory back."""
        begun = [future for _, future in self._running if not future.cancel()]
        if wait_for(begun, _GRACE).not_done:
            self.pool.abandon()
        for memory, slot in self._slots.values():
            if isinstance(memory, SharedArena):
                memory.give_back(slot)
        for store in (self._running, self._waiting, self._slots):
            store.clear()
        if self._arena is not None:
            self._arena.leave()
            self._arena = None
        self._cache_limit.lift()

    def _hand_over(self, wanted: int) -> None:
        """Give the workers the pieces of the first `wanted` tiles, and of some more tiles."""
        while self._waiting and self._waiting[0].tiles[0] < wanted + self._ahead:
            piece = self._waiting.popleft()
            task = PieceTask(
                self._source,
                piece.window,
                tuple(self._target(piece, position) for position in piece.tiles),
                self._grid.scale,
                self._options.fill,
                self._options.strict,
                self._cache_bytes,
                self._slide.in_order,
            )
            self._running.append((piece, self.pool.submit(task)))

    def _target(self, piece: Piece, position: int) -> Target:
        """Say which part of a piece goes where in the tile at `position`."""
        batch, offset = divmod(position, self.size)
        if batch not in self._slots:
            self._slots[batch] = self._new_slot()
        memory, slot = self._slots[batch]
        read = self._tiles[position].read
        common = piece.window.intersection(read)
        return Target(
            memory,
            slot * self.size + offset,
            common.relative_to(piece.window).shrunk(self._grid.scale),
            common.relative_to(read).shrunk(self._grid.scale),
        )

    def _new_slot(self) -> tuple[LocalArray | SharedArena, int]:
        """Return memory that the workers can write, and which slot of it is the batch's."""
        if self._arena is not None:
            return self._arena, self._arena.take()
        return LocalArray(np.empty(self._batch_shape, self._slide.dtype)), 0

    def _take_batch(self, batch: int) -> np.ndarray:
        """Return a batch's pixels, which are the caller's from now on."""
        memory, slot = self._slots.pop(batch)
        if isinstance(memory, LocalArray):
            return memory.array
        return memory.lend(slot)

    def _wait_for_tiles(self, wanted: int) -> None:
        """Wait for the pieces of the first `wanted` tiles."""
        while self._running and self._running[0][0].tiles[0] < wanted:
            piece, future = self._running[0]
            if wait_for([future], self._options.timeout).not_done:
                self.pool.abandon()
                raise ReaderError(
                    f"{self._slide.paths[0]}: {piece.window} did not arrive within "
                    f"{self._options.timeout:.0f} s. The disk or a reader is stuck. Read from "
                    "another disk, or with workers=0"
                )
            try:
                result = future.result()
            except BrokenProcessPool as error:
                self.pool.abandon()
                raise ReaderDiedError(
                    f"{self._slide.paths[0]}: {killed_in_words('a reader process')}. "
                    f"{piece.window} was not read. Use fewer workers, or threads"
                ) from error
            self._running.popleft()
            self.stats.decoding += result.seconds
            known = self.stats.bad_windows
            new = [window for window in result.bad if window not in known]
            self._bad_windows += new
            known += new

    def _note_bad_tiles(self, tiles: list[Tile]) -> None:
        """List the tiles that see a window that could not be decoded."""
        top = tiles[0].read.row
        self._bad_windows = [window for window in self._bad_windows if window.bottom > top]
        for tile in tiles:
            if any(tile.read.intersection(window).area for window in self._bad_windows):
                self.stats.bad_tiles.append(tile.index)
