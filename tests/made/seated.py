"""Tasks for processes of their own that start fast: they import next to nothing."""

import os
import sys

from kernelkit.errors import TrainingError
from kernelkit.training.loop.processes import Seat


def count_to(number: int, seat: Seat) -> tuple[int, int, int]:
    """Advance `number` times. Say to what, from which seat and in which process."""
    if number < 0:
        raise TrainingError(f"cannot count to {number}")
    seat.advance(number)
    return number, seat.number, os.getpid()


def count_for_ever(seat: Seat) -> None:
    """Say that it counts, and never stop."""
    print("counting", flush=True)
    while True:
        seat.advance()


def die(_seat: Seat) -> None:
    """End the process, as Linux does if the memory runs out."""
    os._exit(9)


def main() -> int:
    """Count for ever in a process of its own: a command to be interrupted."""
    from devkit.commands import command
    from kernelkit.training.loop.processes import in_processes
    from tests.made import seated  # the processes do not know this file as __main__

    @command("count")
    def count() -> int:
        in_processes(seated.count_for_ever, [()], workers=1, steps=1, say=str)
        return 0

    return count()


if __name__ == "__main__":
    sys.exit(main())
