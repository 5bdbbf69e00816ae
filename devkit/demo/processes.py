"""Run independent tasks in processes of their own, with one progress bar for all of them."""

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing.sharedctypes import Synchronized
from typing import Any

from tqdm import tqdm

__all__ = ["in_processes"]

_steps_done: "Synchronized[int]"  # of all tasks together; set in each process when it starts


def in_processes(task: Callable[..., str], arguments: Sequence[tuple], steps: int) -> None:
    """Call `task(*arguments, advance)` for each of `arguments`, as many at once as there are cores.

    The bar goes up to `steps`, one for every call of `advance()` in any task; the line that a task
    returns is printed above it. The first exception stops the tasks that have not begun.
    """
    context = multiprocessing.get_context("spawn")
    counter = context.Value("q", 0)
    workers = min(len(arguments), len(os.sched_getaffinity(0)))
    with (
        ProcessPoolExecutor(workers, context, _remember, (counter,)) as pool,
        tqdm(total=steps, unit="step", mininterval=2) as progress,
    ):
        waiting: set[Future[str]] = {pool.submit(_call, task, one) for one in arguments}
        try:
            while waiting:
                done, waiting = wait(waiting, timeout=1, return_when=FIRST_COMPLETED)
                progress.update(counter.value - progress.n)
                for future in done:
                    progress.write(future.result())
            progress.update(counter.value - progress.n)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _remember(counter: "Synchronized[int]") -> None:
    global _steps_done
    _steps_done = counter


def _call(task: Callable[..., str], arguments: tuple[Any, ...]) -> str:
    return task(*arguments, _advance)


def _advance() -> None:
    with _steps_done.get_lock():
        _steps_done.value += 1
