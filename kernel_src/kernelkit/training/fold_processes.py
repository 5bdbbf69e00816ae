"""A process per fold, beside each other, or one fold on all devices."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from kernelkit.training.fold_jobs import FoldJob
from kernelkit.training.fold_result import FoldResult
from kernelkit.training.loop.processes import Seat, in_processes
from kernelkit.training.train_fold import train_fold

if TYPE_CHECKING:
    from kernelkit.training.loop.machine import Machine, Share

__all__ = ["train_folds"]


def train_folds(
    jobs: Sequence[FoldJob], machine: "Machine", devices: str, workers: int, progress: bool
) -> list[FoldResult]:
    """Train folds beside each other, or one on all devices.

    Parameters
    ----------
    jobs
        The folds.
    machine
        The devices.
    devices
        How they were asked for. A single fold takes all that were named.
    workers
        How many processes read the crops of each fold.
    progress
        Whether there is a bar, with a line per fold.
    """
    from kernelkit.training.loop.machine import Share, free_port

    if not jobs:
        return []
    world = machine.shares(len(jobs), devices)
    names = tuple(str(device) for device in machine.devices)
    port = free_port() if world > 1 else 0
    results = in_processes(
        _train_share,
        [(job, names, workers, Share(rank, world, port)) for job in jobs for rank in range(world)],
        workers=len(names),
        steps=sum(_epoch_steps(job, world) * job.run.epochs for job in jobs),
        say=lambda result: str(result) if result is not None else "",
        show=progress,
    )
    return [result for result in results if result is not None]


def _epoch_steps(job: FoldJob, world: int) -> int:
    """The steps of an epoch. Devices divide them, unless the recipe gives their number."""
    return job.steps if job.run.steps else -(-job.steps // world)


def _train_share(
    job: FoldJob, devices: Sequence[str], workers: int, share: "Share", seat: Seat
) -> FoldResult | None:
    """Train a fold, or a share of it. It is a process's main function."""
    from kernelkit.training.loop.files import FoldFiles

    result = train_fold(
        job.run,
        job.fold,
        job.folder,
        job.cuts,
        job.folds,
        devices if share.world > 1 else [devices[seat.number]],
        pseudo=job.pseudo,
        blend=job.blend,
        workers=workers,
        share=share,
        advance=seat.advance,
    )
    if share.rank:
        return None
    FoldFiles(job.folder.path).finish(job.asked, asdict(result))
    return result
