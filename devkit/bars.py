"""Progress of commands on stderr: bars for people at a terminal, and what kernelkit logs."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kernelkit.console import progress, say

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ["bar", "messages_shown", "waiting"]

# Seconds. What takes no longer shows nothing.
_AT_ONCE = 2.0


def bar[T](items: Any = None, *, description: str, unit: str, **options: Any) -> "tqdm[T]":
    """Make a progress bar that vanishes at its end. Without a terminal there is none.

    Parameters
    ----------
    items
        What to iterate over. None makes a bar that is updated by hand.
    description, unit
        What is counted, and one of what.
    options
        As of `tqdm`.
    """
    chosen = {"leave": False, "disable": None, **options}
    return progress(items, description=description, unit=unit, **chosen)


@contextmanager
def waiting(description: str) -> Iterator[None]:
    """Show for how long something goes on that cannot be counted, if it takes over two seconds.

    Parameters
    ----------
    description
        What it is.
    """
    is_over = threading.Event()

    def show() -> None:
        if is_over.wait(_AT_ONCE):
            return
        with bar(description=description, unit="s", bar_format="{desc} {elapsed}") as shown:
            while not is_over.wait(1):
                shown.refresh()

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


@contextmanager
def messages_shown(level: int = logging.INFO) -> Iterator[None]:
    """Show on stderr what kernelkit logs, above the bars, and no warning twice.

    Parameters
    ----------
    level
        The least that is shown. Plans, and how long it took to begin, are of `logging.INFO`.
    """
    log = logging.getLogger("kernelkit")
    handlers = [] if any(isinstance(h, _AboveBars) for h in log.handlers) else [_AboveBars()]
    before = log.level
    for handler in handlers:
        log.addHandler(handler)
    log.setLevel(level)
    try:
        yield
    finally:
        for handler in handlers:
            log.removeHandler(handler)
        log.setLevel(before)


class _AboveBars(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self._warned: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if record.levelno >= logging.WARNING:
            # another process has its name in front
            if any(message == known or message.endswith(f": {known}") for known in self._warned):
                return
            self._warned.add(message)
        say(message)
