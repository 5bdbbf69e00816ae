"""Clusters of dask: one on this machine, or one that somebody started, with a scheduler."""

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import dask.config
import psutil
from distributed import LocalCluster

from devkit.errors import ClusterError
from devkit.predict import connection
from devkit.predict.cluster_executor import ClusterExecutor
from devkit.predict.connection import connected, quiet
from devkit.predict.fit_workers import refuse_unfit, useful, workers_of
from kernelkit.children import starting_children
from kernelkit.errors import as_sentence

__all__ = ["local_cluster", "remote_cluster"]

# A task is given up with the second worker that dies of it.
_DEATHS = 1
# Read by OpenMP, MKL and OpenBLAS when they are loaded.
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_DASHBOARD = "127.0.0.1:8787"
_GPU = "GPU"


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
        quiet(),
    ):
        cluster = _started(workers, folder)
        try:
            with connected(cluster.scheduler_address) as client:
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
        cluster.close(connection.PATIENCE)
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
    with quiet(), connected(address) as client:
        try:
            client.wait_for_workers(1, connection.PATIENCE)
        except TimeoutError:
            raise ClusterError(
                f"{address}: the scheduler has no workers. Start some with make worker "
                f"SCHEDULER={address}"
            ) from None
        workers = workers_of(client)
        refuse_unfit(client, workers)
        resources = {_GPU: 1} if any(_GPU in w["resources"] for w in workers.values()) else {}
        count = len(useful(workers, resources))
        seen = f", to be seen at {client.dashboard_link}" if client.dashboard_link else ""
        print(f"{count} worker(s) of {address}{' with a GPU' if resources else ''}{seen}")
        executor = ClusterExecutor(client, resources)
        with executor.waiting_said():
            yield executor
