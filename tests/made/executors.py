"""Executors that a run may meet: in any order, on another machine, and lost after their work."""

import random
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from typing import Any

from kernelkit.predict.jobs import Job

__all__ = ["AnyOrder", "Deadly", "Elsewhere", "Speechless"]


class AnyOrder(Executor):
    """Runs calls in this process, once so many wait, in an order of its own."""

    def __init__(self, seed: int, wait_for: int) -> None:
        self._random = random.Random(seed)
        self._wait_for = wait_for
        self._waiting: list[tuple[Future[Any], Callable[[], Any]]] = []
        self.lanes = 1
        self.calls = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        self.calls += 1
        if self.calls == 1:  # asks for readiness, and waits
            future.set_result(fn(*args, **kwargs))
            return future
        self._waiting.append((future, lambda: fn(*args, **kwargs)))
        if len(self._waiting) == self._wait_for:
            self._random.shuffle(self._waiting)
            for each, call in self._waiting:
                each.set_result(call())
        return future


class Elsewhere(Executor):
    """Runs jobs in this process, but as a machine would on which something is otherwise."""

    def __init__(self, change: Callable[[Job], Job]) -> None:
        self._change = change
        self.jobs: list[Job] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        job = self._change(args[0])
        self.jobs.append(job)
        try:
            future.set_result(fn(job, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class Deadly(Executor):
    """Runs jobs in this process, but for those with a certain image, of which processes die."""

    def __init__(self, image: str) -> None:
        self._image = image

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        if any(task.image_id == self._image for task in args[0].tasks):
            future.set_exception(BrokenExecutor("it was killed"))
        else:
            future.set_result(fn(*args, **kwargs))
        return future


class Speechless(Executor):
    """Does jobs in this process, but what came of them never comes back.

    Parameters
    ----------
    error
        What comes instead. With None nothing ever does.
    change
        What this machine makes of a job.
    """

    def __init__(
        self, error: Exception | None, change: Callable[[Job], Job] = lambda job: job
    ) -> None:
        self._error, self._change = error, change
        self.jobs: list[Job] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        job = self._change(args[0])
        done = fn(job, **kwargs)
        if not job.tasks:
            future.set_result(done)
            return future
        self.jobs.append(job)
        if self._error is not None:
            future.set_exception(self._error)
        return future
