"""A task for a process of its own that starts fast: it imports next to nothing."""

import os
import sys
from collections.abc import Callable

from kernelkit.errors import CheckpointError


def count_to(number: int, advance: Callable[[], None]) -> str:
    """Advance `number` times and say so."""
    if number < 0:
        raise CheckpointError(f"cannot count to {number}")
    for _ in range(number):
        advance()
    return f"counted to {number} in {os.getpid()}"


def count_for_ever(advance: Callable[[], None]) -> str:
    """Say that it counts, and never stop."""
    print("counting", flush=True)
    while True:
        advance()


def main() -> int:
    """Count for ever in a process of its own: a command to be interrupted."""
    from devkit.demo.processes import in_processes

    from devkit.commands import command
    from tests.made import counting_task  # the processes do not know this file as __main__

    @command("count")
    def count() -> int:
        in_processes(counting_task.count_for_ever, [()], steps=1)
        return 0

    return count()


if __name__ == "__main__":
    sys.exit(main())
