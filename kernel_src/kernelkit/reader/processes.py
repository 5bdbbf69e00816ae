"""Processes that run one task after the other, each over a pipe of its own.

The standard library's pool shares queues among its workers. These need named semaphores, which lie
in `/dev/shm` and outlive a process that is killed. In a container without that folder no pool
starts. Here each worker has a socket to this process and nothing else. It has no name anywhere, and
Linux frees it with its last user.

A worker ends with the process that started it, however that ends, even if the worker is stopped.
"""

import collections
import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Any

from kernelkit.children import end_with_parent
from kernelkit.errors import ReaderError

__all__ = ["ProcessExecutor"]

# A worker has so many tasks at once, so it need not wait for this process to hand it the next.
_DEPTH = 2
# For so many images it is remembered which worker reads them.
_PLACES = 16
# How long a worker may take to end after its last task, in seconds.
_GRACE = 10.0


@dataclass(eq=False)
class _Waiting:
    """A task that no worker has yet."""

    future: "Future[Any]"
    message: bytes
    together: bytes | None


@dataclass(eq=False)
class _Worker:
    """A process, this side of its pipe, and the futures of its tasks in their order."""

    process: BaseProcess
    pipe: Connection
    running: "collections.deque[Future[Any]]" = field(default_factory=collections.deque)


class ProcessExecutor(Executor):
    """An executor for tasks of one module-level function, in processes.

    Parameters
    ----------
    workers
        How many.
    context
        How processes start.
    function
        Runs a task. It is found by its name in the worker.
    starting
        A context manager within which processes start.

    Raises
    ------
    OSError
        Processes cannot be started here.
    """

    def __init__(
        self,
        workers: int,
        context: BaseContext,
        function: Callable[[Any], Any],
        starting: Callable[[], contextlib.AbstractContextManager[None]],
    ) -> None:
        self._context, self._function, self._starting = context, function, starting
        self._lock = threading.Lock()
        self._waiting: collections.deque[_Waiting] = collections.deque()
        self._places: collections.OrderedDict[bytes, _Worker] = collections.OrderedDict()
        self._workers: list[_Worker] = []
        self._closing = self._broken = False
        self._woken, self._waker = os.pipe()
        started: Future[None] = Future()
        # Linux ties a worker's life to the thread that starts it. This one lives as long as all.
        self._thread = threading.Thread(
            target=self._run, args=(workers, started), name="kernelkit-reader", daemon=True
        )
        self._thread.start()
        started.result()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Have `function` run on the one argument.

        Tasks with the same keyword `together`, which is bytes, run in one worker, in their order.

        Raises
        ------
        BrokenProcessPool
            A worker has died.
        """
        assert fn is self._function
        [task] = args
        message = pickle.dumps(task)
        future: Future[Any] = Future()
        with self._lock:
            if self._broken or self._closing:
                raise BrokenProcessPool("a reader process has died")
            self._waiting.append(_Waiting(future, message, kwargs.get("together")))
            self._wake()
        return future

    def kill(self) -> None:
        """Kill the workers. Tasks that are not done raise BrokenProcessPool."""
        for worker in self._workers:
            # one that has ended by itself is closed by the thread that noticed it
            with contextlib.suppress(ValueError):
                worker.process.kill()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the workers once they have finished their tasks."""
        with self._lock:
            self._closing = True
            if cancel_futures:
                for task in self._waiting:
                    task.future.cancel()
            self._wake()
        if wait:
            self._thread.join()

    def _wake(self) -> None:
        if self._waker >= 0:
            os.write(self._waker, b".")

    def _run(self, workers: int, started: "Future[None]") -> None:
        """Start the workers, and pass tasks and results until the executor is shut down."""
        try:
            with self._starting():
                for _ in range(workers):
                    self._workers.append(self._start())
        except BaseException as error:
            self._broken = True
            self._end()
            started.set_exception(error)
            return
        started.set_result(None)
        try:
            while self._hand_out():
                self._take_in()
        except _WorkerDiedError:
            pass
        finally:
            with self._lock:
                self._broken = True
            self._end()

    def _start(self) -> _Worker:
        mine, theirs = multiprocessing.Pipe()
        process = self._context.Process(  # type: ignore[attr-defined]
            target=_serve, args=(theirs, self._function), daemon=True
        )
        try:
            process.start()
        except BaseException:
            mine.close()
            raise
        finally:
            theirs.close()
        return _Worker(process, mine)

    def _hand_out(self) -> bool:
        """Give tasks to workers that have few. Return False once all is done."""
        while True:
            with self._lock:
                found = next(
                    (
                        (task, worker)
                        for task in self._waiting
                        if len((worker := self._worker_for(task.together)).running) < _DEPTH
                    ),
                    None,
                )
                if found is None:
                    busy = any(each.running for each in self._workers)
                    return bool(self._waiting) or busy or not self._closing
                task, worker = found
                self._waiting.remove(task)
            if not task.future.set_running_or_notify_cancel():
                continue
            worker.running.append(task.future)
            try:
                worker.pipe.send_bytes(task.message)
            except OSError:
                raise _WorkerDiedError from None

    def _worker_for(self, together: bytes | None) -> _Worker:
        """Return the worker with the fewest tasks, or the one that has the others of a kind."""
        if together is not None and together in self._places:
            return self._places[together]
        held = list(self._places.values())[-len(self._workers) + 1 :] if together else []
        worker = min(self._workers, key=lambda each: (len(each.running), each in held))
        if together is not None:
            self._places[together] = worker
            while len(self._places) > _PLACES:
                self._places.popitem(last=False)
        return worker

    def _take_in(self) -> None:
        """Wait for a result, a new task, or the end of a worker."""
        pipes = {worker.pipe: worker for worker in self._workers}
        ends = [worker.process.sentinel for worker in self._workers]
        for ready in wait([self._woken, *pipes, *ends]):
            if ready == self._woken:
                os.read(self._woken, 4096)
            elif isinstance(ready, Connection):
                worker = pipes[ready]
                try:
                    error, result = pickle.loads(ready.recv_bytes())
                except (EOFError, OSError):
                    raise _WorkerDiedError from None
                future = worker.running.popleft()
                if error is None:
                    future.set_result(result)
                else:
                    future.set_exception(error)
            else:
                raise _WorkerDiedError

    def _end(self) -> None:
        """Close all pipes, wait for the workers, and fail what is not done."""
        broken = any(worker.running for worker in self._workers)
        for worker in self._workers:
            # A worker that was forked holds the pipes of earlier ones, so these see no end of file.
            with contextlib.suppress(OSError):
                worker.pipe.send_bytes(b"")
            worker.pipe.close()
            if broken:
                worker.process.kill()
        for worker in self._workers:
            worker.process.join(_GRACE)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.process.close()
        with self._lock:
            unfinished = [future for worker in self._workers for future in worker.running]
            unfinished += [task.future for task in self._waiting]
            self._waiting.clear()
            self._workers = []
            os.close(self._woken)
            os.close(self._waker)
            self._waker = -1
        for future in unfinished:
            if not future.done():
                future.set_exception(BrokenProcessPool("a reader process has died"))


class _WorkerDiedError(Exception):
    """A worker is gone."""


def _serve(pipe: Connection, function: Callable[[Any], Any]) -> None:
    """Run tasks until this process's owner closes the pipe. It is a worker's main function."""
    # Ctrl-C is for the process that asked for the tiles
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _die_with_parent()
    while True:
        try:
            message = pipe.recv_bytes()
        except (EOFError, OSError):
            return
        if not message:
            return
        try:
            answer = pickle.dumps((None, function(pickle.loads(message))))
        except Exception as error:
            answer = _as_message(error)
        try:
            pipe.send_bytes(answer)
        except OSError:
            return


def _as_message(error: Exception) -> bytes:
    """Return an error in the form of an answer. If it does not pickle, its text is kept."""
    try:
        message = pickle.dumps((error, None))
        pickle.loads(message)
    except Exception:
        return pickle.dumps((ReaderError(f"{type(error).__name__}: {error}"), None))
    return message


def _die_with_parent() -> None:
    """End this process as soon as the one that started it is gone, even while it is stopped.

    The fork server is the parent of those that it starts. It ends with the main process, unless one
    of its children keeps a pipe to it open.
    """
    server: Any = forkserver._forkserver
    if (alive := server._forkserver_alive_fd) is not None:
        server._forkserver_alive_fd = None
        with contextlib.suppress(OSError):
            os.close(alive)
    end_with_parent()
