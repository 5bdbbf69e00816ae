"""One pass over pictures: tasks go to the workers, what they found comes back in order."""

import collections
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future
from concurrent.futures import wait as wait_for
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kernelkit.errors import ReaderError
from kernelkit.reader.pictures_prepare import Preparation
from kernelkit.reader.pictures_work import FoundPicture, PictureResult, PictureTask, Placed
from kernelkit.reader.shared import SharedArena
from kernelkit.reader.workers import ReaderPool

__all__ = ["PicturePass"]

# A task ends with the picture that makes its files this large, in bytes. That is 5 to 20 ms of
# decoding, against 0.2 ms to hand it over.
_TASK_BYTES = 256 << 10
_TASK_PICTURES = 32
# Each task has a slot of shared memory of this size, in bytes. Only what is written takes memory.
_SLOT_BYTES = 32 << 20
# So many tasks are under way for each worker.
_TASKS_EACH = 3
# A worker process's cache of decoded blocks, in bytes. Every block is read once.
_CACHE_BYTES = 16 << 20
# How long workers may take to finish their tasks after the caller has left, in seconds.
_GRACE = 10.0

Result = tuple[int, FoundPicture | str, list[np.ndarray]]


@dataclass(eq=False)
class _Job:
    """A task under way: the numbers of its pictures, and where what it finds will lie."""

    numbers: Sequence[int]
    arena: SharedArena | None
    own_arena: bool
    slot: int
    future: "Future[PictureResult]"


class PicturePass:
    """One pass over pictures, through a pool of workers.

    Parameters
    ----------
    pictures
        The files of each picture.
    preparation
        What to make of each.
    pool
        The workers.
    batch
        Pictures per batch.
    timeout
        After so many seconds without progress a worker counts as dead.

    Attributes
    ----------
    notes
        What went otherwise, a sentence each.
    lost_over
        The numbers of pictures over which two workers were lost.
    """

    def __init__(
        self,
        pictures: Sequence[tuple[Path, ...]],
        preparation: Preparation,
        pool: ReaderPool,
        batch: int,
        timeout: float,
    ) -> None:
        self.notes: list[str] = []
        self.lost_over: set[int] = set()
        self._pictures, self._preparation, self._pool = pictures, preparation, pool
        self._timeout = timeout
        self._waiting = _cut(pictures, min(batch, _TASK_PICTURES))
        self._running: collections.deque[_Job] = collections.deque()
        self._arena: SharedArena | None = None
        pool.start()
        if not pool.shares_memory:
            try:
                self._arena = pool.arena((1, _SLOT_BYTES), np.dtype("u1"))
                self._arena.use()
            except (OSError, ReaderError) as error:
                pool.use_threads(error)

    def results(self) -> Iterator[Result]:
        """Iterate over the pictures in their order: a number, what was found, and its inputs.

        The inputs are views of memory that the next step of the loop gives back.
        """
        while self._begin_tasks():
            job = self._running[0]
            try:
                result = _result_of(job, self._timeout)
            except _LostError as lost:
                self._pool.abandon()
                self._note_lost(lost)
                yield from self._read_again()
                continue
            yield from _pictures_of(job, result)
            self._running.popleft()
            _give_back(job)
            for rest in reversed(_left_by(job, result)):
                self._running.appendleft(self._hand_over(self._pool, rest, result.needed))

    def _begin_tasks(self) -> bool:
        """Hand over tasks until enough are under way. Return False once all are done."""
        while len(self._running) <= self._pool.workers * _TASKS_EACH:
            numbers = next(self._waiting, None)
            if numbers is None:
                break
            self._running.append(self._hand_over(self._pool, numbers))
        return bool(self._running)

    def close(self) -> None:
        """Cancel tasks that have not begun, wait for the others, and give the memory back."""
        begun = [job.future for job in self._running if not job.future.cancel()]
        if wait_for(begun, _GRACE).not_done:
            self._pool.abandon()
        for job in self._running:
            _give_back(job)
        self._running.clear()
        if self._arena is not None:
            self._arena.leave()
            self._arena = None

    def _hand_over(self, pool: ReaderPool, numbers: Sequence[int], needed: int = 0) -> _Job:
        """Have a worker read some pictures, which may need more memory than a slot has."""
        arena, own = None, False
        if not pool.shares_memory:
            arena, own = self._arena, needed > _SLOT_BYTES and len(numbers) == 1
            if own or arena is None:
                arena = SharedArena((1, max(needed, _SLOT_BYTES)), np.dtype("u1"))
                arena.use()
        slot = 0 if arena is None else arena.take()
        pictures = [self._pictures[number] for number in numbers]
        task = PictureTask(pictures, self._preparation, arena, slot, _CACHE_BYTES)
        return _Job(numbers, arena, own, slot, pool.submit(task))

    def _note_lost(self, lost: "_LostError") -> None:
        note = f"{lost}. What the readers had begun was read again, picture by picture"
        if note not in self.notes:
            self.notes.append(note)

    def _read_again(self) -> Iterator[Result]:
        """Read what lost workers had begun: each picture alone, in a new process."""
        lost, self._running = self._running, collections.deque()
        pool = ReaderPool(1, "process", self._pool.start_method)
        try:
            while lost:
                job = lost[0]
                try:
                    result = _result_of(job, _GRACE)
                except _LostError:
                    rest = [[number] for number in job.numbers]
                else:
                    yield from _pictures_of(job, result)
                    rest = [[number] for number in job.numbers[len(result.found) :]]
                for numbers in rest:
                    yield from self._read_alone(pool, numbers)
                _give_back(lost.popleft())
        finally:
            for job in lost:
                _give_back(job)
            pool.close()

    def _read_alone(
        self, pool: ReaderPool, numbers: Sequence[int], needed: int = 0
    ) -> Iterator[Result]:
        """Read one picture in a pool of its own. If that worker is lost too, it has failed."""
        job = self._hand_over(pool, numbers, needed)
        try:
            result = _result_of(job, self._timeout)
            yield from _pictures_of(job, result)
        except _LostError as lost:
            pool.abandon()
            wait_for([job.future], _GRACE)
            reason = (
                f"{self._pictures[numbers[0]][0]}: {lost}, and so was a new one. The file crashes "
                "its decoder, or memory ran out. Convert the file, or use fewer workers"
            )
            self.lost_over.add(numbers[0])
            yield numbers[0], reason, []
            return
        finally:
            _give_back(job)
        if result.needed:
            yield from self._read_alone(pool, numbers, result.needed)


class _LostError(Exception):
    """A worker died or is stuck."""


def _result_of(job: _Job, timeout: float) -> PictureResult:
    """Wait for a task."""
    if wait_for([job.future], timeout).not_done:
        raise _LostError(f"a reader process was stuck for {timeout:.0f} s")
    try:
        return job.future.result()
    except (BrokenProcessPool, CancelledError):
        raise _LostError("a reader process was lost") from None


def _pictures_of(job: _Job, result: PictureResult) -> Iterator[Result]:
    """Iterate over what a task found. Inputs in shared memory are views."""
    memory = None if job.arena is None else job.arena.array[job.slot]
    for number, found in zip(job.numbers, result.found, strict=False):
        inputs: list[np.ndarray] = []
        if not isinstance(found, str):
            dtype = np.dtype(found.dtype)
            for place in found.inputs:
                if isinstance(place, Placed):
                    inputs.append(np.ndarray(place.shape, dtype, memory, place.start))
                else:
                    inputs.append(place)
        yield number, found, inputs


def _left_by(job: _Job, result: PictureResult) -> list[Sequence[int]]:
    """Return the pictures that a full slot left, task by task."""
    rest = job.numbers[len(result.found) :]
    if result.needed <= _SLOT_BYTES:
        return [rest] if rest else []
    return [part for part in (rest[:1], rest[1:]) if part]


def _give_back(job: _Job) -> None:
    """Give back the memory of a task."""
    arena, job.arena = job.arena, None
    if arena is not None:
        arena.give_back(job.slot)
        if job.own_arena:
            arena.leave()


def _cut(pictures: Sequence[tuple[Path, ...]], most: int) -> Iterator[Sequence[int]]:
    """Iterate over the numbers of the pictures of each task."""
    start, size = 0, 0
    for number, paths in enumerate(pictures):
        for path in paths:
            size += _file_bytes(path)
        if size >= _TASK_BYTES or number + 1 - start >= most:
            yield range(start, number + 1)
            start, size = number + 1, 0
    if start < len(pictures):
        yield range(start, len(pictures))


def _file_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # its reader says so
        return 0
