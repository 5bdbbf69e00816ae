"""Processes that end with the one that started them, and that Ctrl-C does not reach."""

import contextlib
import ctypes
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from multiprocessing.connection import wait

__all__ = ["end_with_parent", "starting_children"]

# prctl's number for "send me this signal when my parent dies", from linux/prctl.h.
_PR_SET_PDEATHSIG = 1


@contextlib.contextmanager
def starting_children() -> Iterator[None]:
    """Start processes that Ctrl-C does not reach.

    A terminal sends Ctrl-C to all processes of a command. Each would print a traceback of its own.
    Processes that are started in this block never get it. The command itself gets it at the end
    of the block, and must end its processes then.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent() -> None:
    """End this process as soon as the one that started it is gone, even by `kill -9`.

    It ends even while it is stopped. Linux ties it to the thread that started it.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    threading.Thread(target=_watch_parent, daemon=True).start()


def _watch_parent() -> None:
    """End this process if its parent ended before the line above took hold."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
