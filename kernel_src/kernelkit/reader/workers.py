"""Threads or processes that decode images. Each opens the file for itself.

Threads are the standard library's. `processes` says why processes are not. Three things are added
here. Workers do not import the main module of the process that starts them. After a failure, new
workers read the next image. If no process can be started, threads read instead, and a note says so.
"""

import multiprocessing
import weakref
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol, TypeVar

import numpy as np

from kernelkit.children import main_module_hidden
from kernelkit.errors import ReaderError, SlideError
from kernelkit.reader.open_slides import OpenSlides
from kernelkit.reader.processes import ProcessExecutor
from kernelkit.reader.shared import SharedArena
from kernelkit.slide.block_cache import set_block_cache

__all__ = ["ReaderPool", "check_workers"]

T = TypeVar("T")
Kind = Literal["thread", "process"]
StartMethod = Literal["fork", "spawn", "forkserver"]


class Task[R](Protocol):
    """What a worker can run. It pickles, and so does its result."""

    @property
    def cache_bytes(self) -> int:
        """The size of a worker process's cache of decoded blocks."""

    @property
    def together(self) -> bytes | None:
        """What tasks share that should run in one worker, in their order."""

    def run(self, slides: OpenSlides) -> R:
        """Do the work. Slides that may be needed again are opened through `slides`."""


# Those of a worker process, which reads in one thread.
_slides = OpenSlides()


def _run_in_process[R](task: Task[R]) -> R:
    set_block_cache(task.cache_bytes)
    return task.run(_slides)


class _Inline(Executor):
    """An executor that runs each task at once, in the calling thread."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except SlideError as error:
            future.set_exception(error)
        return future


def check_workers(workers: object) -> None:
    """Refuse a number of workers that is none.

    Raises
    ------
    ReaderError
        It is negative, or no whole number.
    """
    if not isinstance(workers, int) or workers < 0:
        raise ReaderError(
            f"found {workers!r} reader workers, wanted 0 or more. 0 reads in this process, and one "
            "per core is fastest"
        )


class ReaderPool(AbstractContextManager):
    """Workers that decode pieces. One pool can serve many readers, one after the other.

    Processes do not import the script that starts them. It needs no `if __name__ == "__main__"`.

    Parameters
    ----------
    workers
        How many. 0 decodes in the calling thread, one piece at a time.
    kind
        A "process" survives what a broken file does to a decoder. A "thread" starts at once.
    start_method
        How processes start. "forkserver" and "spawn" are safe after threads and CUDA have begun.
        "fork" starts fastest.

    Attributes
    ----------
    notes
        Why threads read although processes were asked for, a sentence.

    Raises
    ------
    ReaderError
        The number of workers is none.
    """

    def __init__(
        self,
        workers: int,
        kind: Kind = "process",
        start_method: StartMethod = "forkserver",
    ) -> None:
        check_workers(workers)
        self.workers, self.kind, self.start_method = workers, kind, start_method
        self.notes: list[str] = []
        self._slides = OpenSlides()
        self._executor: Executor | None = None
        self._arena: SharedArena | None = None

    @property
    def shares_memory(self) -> bool:
        """Whether the workers write straight into arrays of this process."""
        return not self.workers or self.kind == "thread"

    def start(self) -> None:
        """Start the workers, if they do not run. The first task would do it too."""
        if self._executor is None:
            self._executor = self._start()

    def submit[R](self, task: Task[R]) -> "Future[R]":
        """Have a worker run a task, such as a piece that is decoded into its tiles.

        The future raises what the task raises, and BrokenProcessPool if a worker died.
        """
        self.start()
        executor = self._executor
        assert executor is not None
        if not isinstance(executor, ProcessExecutor):
            return executor.submit(task.run, self._slides)
        try:
            return executor.submit(_run_in_process, task, together=task.together)
        except BrokenProcessPool:  # a worker died between two images
            self.abandon()
            return self.submit(task)

    def arena(self, batch: tuple[int, ...], dtype: np.dtype) -> SharedArena:
        """Return shared memory for batches of this shape. It is the last pass's, if that fits.

        The caller must `use` and `leave` it.
        """
        if self._arena is None or (self._arena.batch, self._arena.dtype) != (batch, dtype):
            self._drop_arena()
            self._arena = SharedArena(batch, dtype)
            self._arena.use()
        return self._arena

    def _drop_arena(self) -> None:
        if self._arena is not None:
            self._arena.leave()
            self._arena = None

    def use_threads(self, reason: object) -> None:
        """Read with threads of this process from now on, and say why."""
        self.notes.append(
            f"images are read by threads, because reader processes do not work here ({reason}). "
            "A file that kills its decoder then ends the run"
        )
        self.abandon()
        self.kind = "thread"

    def _start(self) -> Executor:
        if not self.workers:
            return _Inline()
        if self.kind == "process":
            # the fork server needs a socket in the temporary folder, and spawn does not
            for method in dict.fromkeys((self.start_method, "spawn")):
                try:
                    return self._start_processes(method)
                except (OSError, EOFError) as error:
                    reason = error
            self.use_threads(reason)
        return ThreadPoolExecutor(self.workers, "kernelkit-reader")

    def _start_processes(self, method: str) -> Executor:
        context = multiprocessing.get_context(method)
        if method == "forkserver":  # so only the first pool waits for the imports
            context.set_forkserver_preload([__name__])
        executor = ProcessExecutor(self.workers, context, _run_in_process, main_module_hidden)
        weakref.finalize(self, executor.shutdown, wait=False).atexit = False
        return executor

    def abandon(self) -> None:
        """Kill the workers, or forget them if they are threads. Later tasks get new ones."""
        executor, self._executor = self._executor, None
        if executor is None:
            return
        if isinstance(executor, ProcessExecutor):
            executor.kill()
        executor.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        """End the workers once they have finished their pieces."""
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._executor = None
        self._drop_arena()
        self._slides.close()

    def __exit__(self, *_: object) -> None:
        self.close()
