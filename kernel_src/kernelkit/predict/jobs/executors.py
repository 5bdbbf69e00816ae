"""What an executor says of itself, beyond the interface of `concurrent.futures`."""

from concurrent.futures import Executor, Future
from typing import Any

__all__ = ["device_of", "names_of", "ticks_of"]


def ticks_of(executor: Executor) -> int | None:
    """How much an executor's processes have done since they began, if it says so."""
    return getattr(executor, "ticks", None)


def names_of(executor: Executor) -> list[str]:
    """The names of an executor's processes, as far as it says how many there are."""
    if seats := getattr(executor, "seats", None):
        return [seat.name for seat in seats]
    lanes = getattr(executor, "lanes", 0) or getattr(executor, "_max_workers", 0) or 1
    return [f"process {number + 1}" for number in range(lanes)]


def device_of(future: "Future[Any]") -> str:
    """The name of the process that took a call, if its executor says it."""
    return getattr(future, "device", "")
