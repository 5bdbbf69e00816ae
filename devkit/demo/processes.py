"""Run independent tasks in processes of their own, with one progress bar for all of them."""

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from multiprocessing.sharedctypes import Synchronized
from typing import Any

from tqdm import tqdm

from kernelkit.children import end_with_parent, starting_children

__all__ = ["in_processes"]

# The steps of all tasks together. Each process sets it when it starts.
_steps_done: "Synchronized[int]"


def in_processes(task: Callable[..., str], arguments: Sequence[tuple], steps: int) -> None:
    """Call `task(*arguments, advance)` for each of `arguments`, as many at once as there are cores.

    The line that a task returns is printed above the bar. The first exception ends all tasks, and
    so does the end of this process, however it ends.

    Parameters
    ----------
    task
        A function of a module, so that other processes find it.
    arguments
        The arguments of each call.
    steps
        How far the bar goes: one step for each call of `advance()` in any task.
    """
    context = multiprocessing.get_context("spawn")
    counter = context.Value("q", 0)
    workers = min(len(arguments), len(os.sched_getaffinity(0)))
    others = set(multiprocessing.active_children())
    with (
        ProcessPoolExecutor(workers, context, _remember, (counter,)) as pool,
        tqdm(total=steps, unit="step", mininterval=2) as progress,
    ):
        try:
            with starting_children():
                waiting = {pool.submit(_call, task, one) for one in arguments}
            while waiting:
                done, waiting = wait(waiting, timeout=1, return_when=FIRST_COMPLETED)
                progress.update(counter.value - progress.n)
                for future in done:
                    progress.write(future.result())
            progress.update(counter.value - progress.n)
        except BaseException:
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()
            raise


def _remember(counter: "Synchronized[int]") -> None:
    global _steps_done
    _steps_done = counter
    end_with_parent()  # a worker would wait for work for ever, or train on


def _call(task: Callable[..., str], arguments: tuple[Any, ...]) -> str:
    return task(*arguments, _advance)


def _advance() -> None:
    with _steps_done.get_lock():
        _steps_done.value += 1
