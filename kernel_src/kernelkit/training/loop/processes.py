"""Run independent tasks in processes of their own, with one progress bar for all of them."""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.sharedctypes import Synchronized
from typing import Any

from kernelkit.children import end_with_parent, starting_children
from kernelkit.console import progress
from kernelkit.errors import TrainingError
from kernelkit.memory import killed_in_words

__all__ = ["Seat", "in_processes"]


@dataclass(frozen=True)
class Seat:
    """The place of a task among those that run at once.

    Attributes
    ----------
    number
        From 0 on. No two tasks that run at once have the same.
    """

    number: int

    def advance(self, steps: int = 1) -> None:
        """Move the bar of all tasks on."""
        with _here.steps_done.get_lock():
            _here.steps_done.value += steps


@dataclass
class _Here:
    """What a process knows once it has started."""

    steps_done: "Synchronized[int]"
    seat: Seat


_here: _Here


def in_processes[Result](
    task: Callable[..., Result],
    arguments: Sequence[tuple[Any, ...]],
    *,
    workers: int,
    steps: int,
    say: Callable[[Result], str],
    show: bool = True,
) -> list[Result]:
    """Call `task(*arguments, seat)` for each of `arguments`, `workers` at once.

    The first exception ends all tasks, and so does the end of this process, however it ends.

    Parameters
    ----------
    task
        A function of a module, so that other processes find it.
    arguments
        The arguments of each call.
    workers
        How many processes there are.
    steps
        How far the bar goes: what the tasks give to `seat.advance` in all.
    say
        The line about a result, printed above the bar. An empty one is not.
    show
        Whether there is a bar, and lines.

    Returns
    -------
    The results, in the order of `arguments`.

    Raises
    ------
    TrainingError
        A process died. What a task raises is raised here.
    """
    context = multiprocessing.get_context("spawn")
    counters = context.Value("q", 0), context.Value("q", 0)
    others = set(multiprocessing.active_children())
    bar = progress(
        None, description="training", unit="step", total=steps, mininterval=2, disable=not show
    )
    with (
        ProcessPoolExecutor(min(workers, len(arguments)), context, _begin, counters) as pool,
        bar,
    ):
        try:
            with starting_children():
                futures = [pool.submit(_call, task, one) for one in arguments]
            waiting = set(futures)
            while waiting:
                done, waiting = wait(waiting, timeout=1, return_when=FIRST_COMPLETED)
                bar.update(counters[0].value - bar.n)
                for future in done:
                    if (line := say(future.result())) and show:
                        bar.write(line)
            bar.update(counters[0].value - bar.n)
        except BaseException as error:
            for process in set(multiprocessing.active_children()) - others:
                process.kill()  # Lightning would wait for the end of the batch
            if isinstance(error, BrokenProcessPool):
                raise TrainingError(
                    f"{killed_in_words('a training process')}. Train with a smaller batch, or "
                    "fewer folds at once, and start again: finished epochs stay"
                ) from error
            raise
    return [future.result() for future in futures]


def _begin(steps_done: "Synchronized[int]", seats_taken: "Synchronized[int]") -> None:
    global _here
    end_with_parent()  # a worker would wait for work for ever, or train on
    with seats_taken.get_lock():
        seat = Seat(seats_taken.value)
        seats_taken.value += 1
    _here = _Here(steps_done, seat)


def _call[Result](task: Callable[..., Result], arguments: tuple[Any, ...]) -> Result:
    return task(*arguments, _here.seat)
