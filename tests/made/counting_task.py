"""A task for a process of its own that starts fast: it imports next to nothing."""

import os
from collections.abc import Callable

from kernelkit.errors import CheckpointError


def count_to(number: int, advance: Callable[[], None]) -> str:
    """Advance `number` times and say so."""
    if number < 0:
        raise CheckpointError(f"cannot count to {number}")
    for _ in range(number):
        advance()
    return f"counted to {number} in {os.getpid()}"
