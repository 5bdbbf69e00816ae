"""The workers of dask's scheduler as an executor. What dask raises becomes a sentence."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError, Executor, Future
from contextlib import contextmanager
from typing import Any, cast

from distributed import Client, KilledWorker
from tornado.ioloop import IOLoop

from devkit.errors import ClusterError
from devkit.predict.connection import address_of
from devkit.predict.fit_workers import useful, workers_of
from devkit.predict.waiting import WaitingForWorkers

__all__ = ["ClusterExecutor"]


class ClusterExecutor(Executor):
    """The workers of a scheduler as an executor. A worker that is lost costs a repeat of its call.

    The workers outlive it, and calls that nobody waits for are forgotten.

    Parameters
    ----------
    client
        Of the scheduler.
    resources
        What a call takes of a worker, such as `{"GPU": 1}`.
    shares_cpu
        Whether the workers share the cores of this machine.

    Attributes
    ----------
    address
        Where the scheduler is.
    """

    def __init__(
        self, client: Client, resources: Mapping[str, float], shares_cpu: bool = False
    ) -> None:
        self._client, self._resources, self.shares_cpu = client, dict(resources), shares_cpu
        self.address = address_of(client)
        self._is_lost = False
        # calls whose answers are still to come
        self._out: set[Future[Any]] = set()

    def refuse_lost(self) -> None:
        """Refuse to go on with what a lost scheduler left.

        Raises
        ------
        ClusterError
            The scheduler is gone.
        """
        if self._is_lost:
            raise self._lost()

    @contextmanager
    def waiting_said(self) -> Iterator[None]:
        """Say on the terminal if calls wait since no worker is left, for a `with` block."""
        waiting = WaitingForWorkers(self.address, self._count, lambda: bool(self._out))
        end = waiting.begin(cast(IOLoop, self._client.loop))
        try:
            yield
        finally:
            end()

    async def _count(self) -> int:
        """How many workers can do the work now."""
        scheduler = cast(Any, self._client.scheduler)
        info = await scheduler.identity(n_workers=-1)
        return len(useful(info["workers"], self._resources))

    @property
    def lanes(self) -> int:
        """How many calls run at once."""
        return max(1, len(useful(workers_of(self._client), self._resources)))

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Have a worker call a function of a module.

        Raises
        ------
        ClusterError
            The scheduler is gone.
        """
        self.refuse_lost()
        asked = self._client.submit(
            _caught(fn), *args, pure=False, resources=self._resources or None, **kwargs
        )
        answer: Future[Any] = Future()
        self._out.add(answer)
        answer.add_done_callback(self._out.discard)

        async def pass_on() -> None:
            try:
                error, result = await asked._result()
            except (CancelledError, asyncio.CancelledError, OSError):
                error, result = self._lost(), None  # unless the call was cancelled here
                self._is_lost |= not answer.cancelled()
            except Exception as died:
                error, result = _in_words(died), None
            if not answer.set_running_or_notify_cancel():
                return
            if error is None:
                answer.set_result(result)
            else:
                answer.set_exception(error)

        def cancel(answer: "Future[Any]") -> None:
            if answer.cancelled():
                asked.cancel()

        answer.add_done_callback(cancel)
        # an executor of dask's own waits for ever if the scheduler dies while it sends a result
        cast(IOLoop, self._client.loop).add_callback(pass_on)
        return answer

    def _lost(self) -> ClusterError:
        return ClusterError(
            f"{self.address}: the scheduler is gone, or it was restarted. Start it and its "
            "workers, and the same command goes on with what is stored"
        )


def _caught(fn: Callable[..., Any]) -> Callable[..., tuple[Exception | None, Any]]:
    """A function that returns what `fn` raises. Otherwise a worker would print its traceback."""

    def caught(*args: Any, **kwargs: Any) -> tuple[Exception | None, Any]:
        try:
            return None, fn(*args, **kwargs)
        except Exception as error:
            return error, None

    caught.__name__ = getattr(fn, "__name__", "call")  # dask's page shows it
    return caught


def _in_words(error: Exception) -> Exception:
    """What a call raised. Of workers that died, dask says it in five sentences."""
    if isinstance(error, KilledWorker):
        return ClusterError(
            f"{error.allowed_failures + 1} worker(s) died over it, as processes do that are killed "
            f"or run out of memory. The last one was {error.last_worker.address}"
        )
    return error
