"""`CropLoader`: the batches of an epoch, made ahead by worker processes in shared memory."""

import collections
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernelkit.errors import ReaderDiedError
from kernelkit.reader import ReaderPool
from kernelkit.reader.shared import LocalArray, SharedArena
from kernelkit.training.augment.plan import Plan
from kernelkit.training.crops.batch import CropBatch, Layout
from kernelkit.training.crops.sampler import Sampler
from kernelkit.training.crops.sources import TrainingWindow
from kernelkit.training.crops.task import CropTask

__all__ = ["CropLoader"]

# So many batches are made ahead, and each is so many tasks for each worker. One worker
# alone would take long to make the first batch of an epoch.
_BATCHES_AHEAD, _TASKS_EACH = 3, 2
# How long workers may take to finish a batch that nobody wants any more, in seconds.
_GRACE = 10.0


class CropLoader(AbstractContextManager):
    """The batches of any epoch.

    They depend on the seed and on the epoch's number alone. Neither the workers matter, nor what
    was read before.

    Parameters
    ----------
    sampler
        Says which windows an epoch has.
    windows
        The windows.
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
    """

    def __init__(
        self,
        sampler: Sampler,
        windows: Sequence[TrainingWindow],
        layout: Layout,
        plan: Plan,
        *,
        random: float,
        seed: int,
        workers: int = 0,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        self._sampler, self._windows, self._layout, self._plan = sampler, windows, layout, plan
        self._random, self._seed, self._rank, self._ranks = random, seed, rank, ranks
        self._pool = ReaderPool(workers)

    def __len__(self) -> int:
        return self._sampler.steps_per_epoch

    def batches(self, epoch: int) -> Iterator[CropBatch]:
        """Iterate over the batches of an epoch.

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
            for step in range(len(self)):
                under_way.append(self._begin(order, epoch, step, arena))
                if len(under_way) > _BATCHES_AHEAD * min(1, self._pool.workers):
                    batch = self._finish(under_way[0])
                    under_way.popleft()
                    yield batch
            while under_way:
                batch = self._finish(under_way[0])
                under_way.popleft()
                yield batch
        finally:
            for job in under_way:
                job.give_up()
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
        windows = [self._windows[order[number]] for number in numbers]
        memory: SharedArena | LocalArray = arena or LocalArray(
            np.empty((1, self._layout.nbytes), np.uint8)
        )
        slot = arena.take() if arena else 0
        together = -(-len(windows) // (_TASKS_EACH * max(1, self._pool.workers)))
        futures = [
            self._pool.submit(
                CropTask(
                    memory,
                    slot,
                    self._layout,
                    tuple(windows[place : place + together]),
                    place,
                    start + place,
                    self._plan,
                    self._random,
                    self._seed,
                    epoch,
                )
            )
            for place in range(0, len(windows), together)
        ]
        weights = np.array([window.weight for window in windows], np.float32)
        return _Job(futures, memory, slot, weights)

    def _finish(self, job: "_Job") -> CropBatch:
        """Wait for a batch, and give it to the caller."""
        import torch

        try:
            made = [future.result() for future in job.futures]
        except BrokenProcessPool:
            raise ReaderDiedError(
                "a process that cuts crops died, perhaps since memory ran out. Train with fewer "
                "workers"
            ) from None
        pixels, labels, held = map(torch.from_numpy, self._layout.arrays(job.lent()))
        return CropBatch(
            pixels,
            labels,
            None if all(is_whole for _, is_whole in made) else held,
            torch.from_numpy(job.weights),
            torch.from_numpy(np.concatenate([draws for draws, _ in made])),
        )


@dataclass(frozen=True, eq=False)
class _Job:
    """A batch under way.

    Attributes
    ----------
    futures
        Give the random numbers of its crops, and whether all of their pixels hold data.
    memory, slot
        Where it lies.
    weights
        Those of its crops.
    """

    futures: "list[Future[tuple[NDArray[np.float32], bool]]]"
    memory: SharedArena | LocalArray
    slot: int
    weights: NDArray[np.float32]

    def lent(self) -> np.ndarray:
        """The batch's memory. It is free again once no array in it is left."""
        if isinstance(self.memory, SharedArena):
            return self.memory.lend(self.slot)[0]
        return self.memory.array[0]

    def give_up(self) -> None:
        """Wait until nobody writes to the memory, and give it back."""
        running = [future for future in self.futures if not future.cancel()]
        if wait(running, _GRACE).not_done:  # a worker that hangs keeps its memory
            return
        if isinstance(self.memory, SharedArena):
            self.memory.give_back(self.slot)
