"""`CropLoader`: the batches of an epoch, made ahead by worker processes in shared memory."""

import collections
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager

import numpy as np
from numpy.typing import NDArray

from kernelkit.errors import ReaderDiedError
from kernelkit.reader import ReaderPool
from kernelkit.reader.shared import LocalArray, SharedArena
from kernelkit.training.augment.plan import Plan
from kernelkit.training.crops.batch import CropBatch, Layout
from kernelkit.training.crops.sampler import Sampler
from kernelkit.training.crops.task import BatchTask, CropSource

__all__ = ["CropLoader"]

# So many batches are under way for each worker.
_BATCHES_EACH = 2


class CropLoader(AbstractContextManager):
    """The batches of an epoch, over and over. It is iterated once per epoch.

    Call `set_epoch` before. Lightning does so by itself. The batches depend on the seed and on the
    epoch's number, not on the workers or on what was read before.

    Parameters
    ----------
    sampler
        Says which windows an epoch has.
    source
        Gives the window of this number, the crop's own number in it, and the crop's weight.
    layout
        Of a batch.
    plan
        The augmentations.
    random
        The probability that a crop lies anywhere in its window.
    seed
        Where all random numbers come from.
    workers
        Processes that make batches. 0 makes each when it is asked for.
    rank, ranks
        Which of so many devices it is for. Each gets its own crops of a step.

    Attributes
    ----------
    epoch
        The epoch that is iterated over next.
    """

    def __init__(
        self,
        sampler: Sampler,
        source: Callable[[int, int], tuple[CropSource, float]],
        layout: Layout,
        plan: Plan,
        random: float,
        seed: int,
        workers: int,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        self._sampler, self._source, self._layout, self._plan = sampler, source, layout, plan
        self._random, self._seed, self._rank, self._ranks = random, seed, rank, ranks
        self._pool = ReaderPool(workers)
        self.epoch = 0

    @property
    def sampler(self) -> "CropLoader":
        """What Lightning tells the epoch to."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that is iterated over next."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self._sampler.steps_per_epoch

    def __iter__(self) -> Iterator[CropBatch]:
        return self.batches(self.epoch)

    def batches(self, epoch: int, first: int = 0) -> Iterator[CropBatch]:
        """Iterate over the batches of an epoch, from the batch `first` on.

        Raises
        ------
        ReaderDiedError
            A worker process died.
        """
        order = self._sampler.order(self._seed, epoch)
        under_way: collections.deque[_Job] = collections.deque()
        arena = self._arena()
        if isinstance(arena, SharedArena):
            arena.use()
        try:
            for step in range(first, len(self)):
                under_way.append(self._begin(order, epoch, step, arena))
                if len(under_way) > _BATCHES_EACH * self._pool.workers:
                    yield self._finish(under_way.popleft())
            while under_way:
                yield self._finish(under_way.popleft())
        finally:
            for job in under_way:
                job.wait()
            if isinstance(arena, SharedArena):
                arena.leave()

    def close(self) -> None:
        """End the workers."""
        self._pool.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _arena(self) -> SharedArena | None:
        if not SharedArena.supported:
            return None
        return self._pool.arena((1, self._layout.nbytes), np.dtype(np.uint8))

    def _begin(
        self, order: NDArray[np.int64], epoch: int, step: int, arena: SharedArena | None
    ) -> "_Job":
        """Hand a batch to a worker."""
        start = (step * self._ranks + self._rank) * self._layout.crops
        numbers = range(start, start + self._layout.crops)
        sources = [self._source(int(order[number]), number) for number in numbers]
        memory: SharedArena | LocalArray = arena or LocalArray(
            np.empty((1, self._layout.nbytes), np.uint8)
        )
        slot = arena.take() if arena else 0
        task = BatchTask(
            memory,
            slot,
            self._layout,
            tuple(crop for crop, _ in sources),
            self._plan,
            self._random,
            self._seed,
            epoch,
        )
        weights = np.array([weight for _, weight in sources], np.float32)
        return _Job(self._pool.submit(task), memory, slot, weights)

    def _finish(self, job: "_Job") -> CropBatch:
        """Wait for a batch, and give it to the caller."""
        import torch

        try:
            draws, is_whole = job.future.result()
        except BrokenProcessPool:
            raise ReaderDiedError(
                "a process that cuts crops died, perhaps since memory ran out. Train with fewer "
                "workers"
            ) from None
        pixels, labels, held = map(torch.from_numpy, self._layout.arrays(job.lent()))
        return CropBatch(
            pixels,
            labels,
            None if is_whole else held,
            torch.from_numpy(job.weights),
            torch.from_numpy(draws),
        )


class _Job:
    """A batch under way, and its place in memory."""

    def __init__(
        self,
        future: "Future[tuple[NDArray[np.float32], bool]]",
        memory: SharedArena | LocalArray,
        slot: int,
        weights: NDArray[np.float32],
    ) -> None:
        self.future, self.weights = future, weights
        self._memory, self._slot = memory, slot

    def lent(self) -> np.ndarray:
        """The batch's memory. It is free again once no array in it is left."""
        if isinstance(self._memory, SharedArena):
            return self._memory.lend(self._slot)[0]
        return self._memory.array[0]

    def wait(self) -> None:
        """Wait until nobody writes to the memory, and give it back."""
        self.future.cancel()
        try:
            self.future.exception(timeout=10)
        except BaseException:  # it was cancelled, or hangs: then its memory is not used again
            return
        if isinstance(self._memory, SharedArena):
            self._memory.give_back(self._slot)
