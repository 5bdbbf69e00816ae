"""Processes that end with the one that started them, and that Ctrl-C does not reach."""

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from multiprocessing.connection import wait
from typing import Any

__all__ = ["end_with_parent", "main_module_hidden", "starting_children"]

# prctl's number for "send me this signal when my parent dies", from linux/prctl.h.
_PR_SET_PDEATHSIG = 1
_hiding = threading.Lock()


def _begin_in_child() -> None:
    """Let a forked process have a lock of its own. Another thread may have held that one."""
    global _hiding
    _hiding = threading.Lock()


os.register_at_fork(after_in_child=_begin_in_child)


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


@contextlib.contextmanager
def main_module_hidden() -> Iterator[None]:
    """Keep processes that start meanwhile from importing the main module of this one.

    A process that Python does not fork imports the script that starts it, by `__file__` or
    `__spec__`. It looks for functions there. But those of kernelkit are in modules. The script may
    import torch, which costs each reader seconds and 400 MB. It may also have no
    `if __name__ == "__main__"`, and start everything once more.
    """
    main = vars(sys.modules["__main__"])
    with _hiding:
        hidden: dict[str, Any] = {
            name: main.pop(name) for name in ("__file__", "__spec__") if name in main
        }
        main["__spec__"] = None
        try:
            yield
        finally:
            del main["__spec__"]
            main.update(hidden)


def end_with_parent() -> None:
    """End this process as soon as the one that started it is gone, even by `kill -9`.

    It ends even while it is stopped. Linux ties it to the thread that started it.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    threading.Thread(target=_watch_parent, daemon=True).start()


def _watch_parent() -> None:
    """End this process once its parent is gone, in case `prctl` came too late or is missing."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
