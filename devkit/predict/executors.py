"""Who does the work of a command: this process, one process per GPU, or workers of dask.

    no scheduler, one GPU              this process
    no scheduler, several GPUs         one process per GPU
    no scheduler, no GPU, n workers    a cluster of n processes on this machine
    a scheduler                        its workers, on any machines

kernelkit takes any executor of `concurrent.futures`, and does not know of dask.
"""

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager

from devkit.arguments import Arguments

__all__ = [
    "add_executor",
    "add_scheduler",
    "device_of_parent",
    "executor_for",
    "readers_of",
    "refuse_lost",
    "workers_of",
]


def add_executor(parser: Arguments) -> None:
    """Add what says who runs networks."""
    parser.add_argument(
        "--devices",
        default="auto",
        variable="DEVICES",
        help="auto is every GPU, else the CPU. Or cpu, or some, such as cuda:0,cuda:1",
    )
    add_scheduler(parser)


def add_scheduler(parser: Arguments) -> None:
    """Add the address of a scheduler."""
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        variable="SCHEDULER",
        help="give the work to the workers of a scheduler of dask, such as tcp://machine:8786",
    )


@contextmanager
def workers_of(scheduler: str | None) -> Iterator[Executor | None]:
    """Give the workers of a scheduler of dask. Without one, None.

    Raises
    ------
    ClusterError
        No scheduler answers, it has no workers, or these cannot do the work.
    """
    if not scheduler:
        yield None
        return
    from devkit.predict.cluster import remote_cluster

    with remote_cluster(scheduler) as executor:
        yield executor


@contextmanager
def executor_for(
    scheduler: str | None = None, workers: int = 0, devices: str = "auto"
) -> Iterator[Executor | None]:
    """Give an executor for a `with` block. Its processes end with the block.

    Parameters
    ----------
    scheduler
        The address of dask's scheduler, such as `tcp://machine:8786`.
    workers
        How many processes share the CPU, if there is neither a scheduler nor a GPU.
    devices
        As of `kernelkit.predict.jobs.devices_of`. A scheduler's workers have their own.

    Yields
    ------
    None if this process does the work.

    Raises
    ------
    ClusterError
        No scheduler answers, it has no workers, or these cannot do the work.
    DeviceError
        There is no such device.
    """
    if scheduler:
        with workers_of(scheduler) as remote:
            yield remote
        return
    from kernelkit.predict.jobs import devices_of, processes_on

    names = devices_of(devices)
    if names == ["cpu"] and workers > 1:
        from devkit.predict.cluster import local_cluster

        with local_cluster(workers) as executor:
            yield executor
    else:
        with processes_on(names) as processes:
            yield processes


def readers_of(executor: Executor | None, workers: int) -> int:
    """How many processes read for each that predicts. Those that share the CPU read themselves."""
    return 0 if getattr(executor, "shares_cpu", False) else workers


def device_of_parent(devices: str, executor: Executor | None) -> str:
    """What this process loads the models on, to look at them before it hands out the work."""
    if executor is None:
        return devices
    return "auto" if devices == "auto" or "cuda" in devices else "cpu"


def refuse_lost(executor: Executor | None) -> None:
    """Refuse to go on with what is there if a scheduler was lost in the middle.

    Raises
    ------
    ClusterError
        It was.
    """
    if executor is not None and hasattr(executor, "refuse_lost"):
        executor.refuse_lost()
