"""Clusters of dask: one on this machine, or one that somebody started, with a scheduler.

What dask raises becomes a sentence, and what it logs below a warning is not shown.
"""

import asyncio
import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError, Executor, Future
from contextlib import contextmanager, suppress
from typing import Any, cast

import dask.config
import psutil
from distributed import Client, KilledWorker, LocalCluster
from tornado.ioloop import IOLoop

from devkit.errors import ClusterError
from devkit.predict.waiting import WaitingForWorkers
from kernelkit.children import starting_children
from kernelkit.errors import as_sentence

__all__ = ["ClusterExecutor", "local_cluster", "remote_cluster"]

# How long a scheduler may take to answer, in seconds.
_PATIENCE = 5
# A task is given up with the second worker that dies of it.
_DEATHS = 1
# Read by OpenMP, MKL and OpenBLAS when they are loaded.
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_DASHBOARD = "127.0.0.1:8787"
_GPU = "GPU"
# What workers must have in the version that is here, beside what dask itself compares.
_COMPUTING = ("torch", "rasterio", "numba")


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
        self.address = _address_of(client)
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
        return len(_useful(info["workers"], self._resources))

    @property
    def lanes(self) -> int:
        """How many calls run at once."""
        return max(1, len(_useful(_workers_of(self._client), self._resources)))

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


@contextmanager
def local_cluster(workers: int) -> Iterator[ClusterExecutor]:
    """Give a cluster of processes on this machine, which share its cores."""
    threads = max(1, len(os.sched_getaffinity(0)) // workers)
    settings = {
        "distributed.worker.daemon": False,  # readers are processes of their own
        "distributed.scheduler.allowed-failures": _DEATHS,
        "distributed.nanny.pre-spawn-environ": dict.fromkeys(_THREADS, threads),
    }
    with (
        tempfile.TemporaryDirectory(prefix="kernelkit-dask-", ignore_cleanup_errors=True) as folder,
        dask.config.set(settings),
        _quiet(),
    ):
        cluster = _started(workers, folder)
        try:
            with _connected(cluster.scheduler_address) as client:
                seen = f", to be seen at {cluster.dashboard_link}" if cluster.dashboard_link else ""
                print(f"{workers} workers on this machine{seen}")
                yield ClusterExecutor(client, {}, shares_cpu=True)
        finally:
            _end(cluster)


def _started(workers: int, folder: str) -> LocalCluster:
    try:
        with starting_children():
            return LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                memory_limit=None,
                dashboard_address=_DASHBOARD,
                local_directory=folder,
                silence_logs=logging.WARNING,
            )
    except Exception as error:  # it raises many kinds
        raise ClusterError(
            f"{workers} workers could not be started on this machine ({as_sentence(error)}). Give "
            "less WORKERS"
        ) from error


def _end(cluster: LocalCluster) -> None:
    """End a cluster and its processes. Masks are in the store, so nothing is lost with them."""
    found = [nanny.pid for nanny in cluster.workers.values()]
    processes = [psutil.Process(pid) for pid in found if pid and psutil.pid_exists(pid)]
    with suppress(Exception):  # on a busy machine it gives up to wait
        cluster.close(_PATIENCE)
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


@contextmanager
def remote_cluster(address: str) -> Iterator[ClusterExecutor]:
    """Give the workers of a scheduler. If some have a resource `GPU`, only these are asked.

    Raises
    ------
    ClusterError
        No scheduler answers, it has no workers, or these cannot do the work.
    """
    with _quiet(), _connected(address) as client:
        try:
            client.wait_for_workers(1, _PATIENCE)
        except TimeoutError:
            raise ClusterError(
                f"{address}: the scheduler has no workers. Start some with make worker "
                f"SCHEDULER={address}"
            ) from None
        workers = _workers_of(client)
        _refuse_threads(workers)
        _refuse_strangers(client)
        resources = {_GPU: 1} if any(_GPU in w["resources"] for w in workers.values()) else {}
        count = len(_useful(workers, resources))
        seen = f", to be seen at {client.dashboard_link}" if client.dashboard_link else ""
        print(f"{count} worker(s) of {address}{' with a GPU' if resources else ''}{seen}")
        executor = ClusterExecutor(client, resources)
        with executor.waiting_said():
            yield executor


@contextmanager
def _connected(address: str) -> Iterator[Client]:
    try:
        client = Client(address, timeout=_PATIENCE, set_as_default=False)
    except Exception as error:  # it raises many kinds
        raise ClusterError(
            f"{address}: no scheduler of dask answered within {_PATIENCE} s. Start one with make "
            "scheduler, or correct SCHEDULER"
        ) from error
    try:
        yield client
    finally:
        # what matters has been said, and no cluster ends without complaints
        _log_from(logging.CRITICAL + 1)
        with suppress(Exception):
            client.close(_PATIENCE)


def _caught(fn: Callable[..., Any]) -> Callable[..., tuple[Exception | None, Any]]:
    """A function that returns what `fn` raises. Otherwise a worker would print its traceback."""

    def caught(*args: Any, **kwargs: Any) -> tuple[Exception | None, Any]:
        try:
            return None, fn(*args, **kwargs)
        except Exception as error:
            return error, None

    caught.__name__ = getattr(fn, "__name__", "call")  # dask's page shows it
    return caught


def _address_of(client: Client) -> str:
    return str(client.scheduler_info()["address"])


def _workers_of(client: Client) -> dict[str, dict[str, Any]]:
    """What the scheduler knows of its workers, by their addresses."""
    found: dict[str, dict[str, Any]] = client.scheduler_info(n_workers=-1)["workers"]
    return found


def _useful(workers: Mapping[str, Mapping[str, Any]], resources: Mapping[str, float]) -> list[str]:
    """The workers that have the resources."""
    return [
        name for name, worker in workers.items() if resources.keys() <= worker["resources"].keys()
    ]


def _refuse_threads(workers: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse workers that are given several calls at once, since they do one after the other."""
    for address, worker in workers.items():
        if worker["nthreads"] > 1:
            raise ClusterError(
                f"{address}: found a worker with {worker['nthreads']} threads, wanted one, since a "
                "call takes all cores of its process. Start it with --nthreads 1"
            )


def _refuse_strangers(client: Client) -> None:
    """Refuse workers that have no kernelkit, or other versions of what computes."""

    def unknown() -> str:
        try:
            import kernelkit.predict.jobs.job  # noqa: F401
        except ImportError as error:
            return str(error)
        return ""

    # a function in a function travels whole, so a worker needs no kernelkit to run it
    for address, problem in client.run(unknown, on_error="return").items():
        if problem:
            raise ClusterError(
                f"{address}: the worker cannot import kernelkit ({problem}). Start it with "
                "PYTHONPATH=kernel_src in a clone of this repository"
            )
    versions = cast(dict[str, Any], client.get_versions(packages=_COMPUTING))
    wanted = versions["client"]["packages"]
    others = {"the scheduler": versions["scheduler"], **versions["workers"]}
    for who, found in others.items():
        for package, version in found["packages"].items():
            if version != wanted[package] and not (
                who == "the scheduler" and package in _COMPUTING
            ):
                raise ClusterError(
                    f"{_address_of(client)}: found {package} {_or_none(version)} at {who}, "
                    f"wanted {_or_none(wanted[package])} as here. Give all machines the same "
                    "environment"
                )


def _or_none(version: str | None) -> str:
    return version or "not installed"


def _in_words(error: Exception) -> Exception:
    """What a call raised. Of workers that died, dask says it in five sentences."""
    if isinstance(error, KilledWorker):
        return ClusterError(
            f"{error.allowed_failures + 1} worker(s) died over it, as processes do that are killed "
            f"or run out of memory. The last one was {error.last_worker.address}"
        )
    return error


@contextmanager
def _quiet() -> Iterator[None]:
    """Show warnings of dask, and nothing that is less."""
    _log_from(logging.WARNING)
    with warnings.catch_warnings():
        # that a port is taken, and versions, of which a sentence is made here
        warnings.simplefilter("ignore")
        yield


def _log_from(level: int) -> None:
    """Show what dask logs from a level on."""
    names = [name for name in logging.root.manager.loggerDict if name.startswith("distributed")]
    for name in (*names, "tornado.application", "asyncio"):
        logging.getLogger(name).setLevel(level)
