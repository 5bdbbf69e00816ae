"""Jobs of a process that was forked from one with torch, which does not survive a fork.

The threads of torch are not in the copy, and a GPU cannot be used there. A pool of the standard
library forks unless it is told otherwise. So such a process passes its jobs on to one of its own,
which begins with nothing.
"""

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.util import Finalize
from typing import Any

from kernelkit.children import main_module_hidden, starting_children
from kernelkit.errors import DeviceError
from kernelkit.memory import killed_in_words
from kernelkit.predict.jobs.seat import begin_as_child

__all__ = ["in_fresh_process", "is_forked"]

# queues of processes end with 10, and the end of a pool needs its own
_BEFORE_QUEUES = 100

_forked = False
_fresh: ProcessPoolExecutor | None = None


def _begin_in_child() -> None:
    """Note in a forked process what it is. What its parent passes jobs on to is not its own."""
    global _forked, _fresh
    _forked, _fresh = True, None


os.register_at_fork(after_in_child=_begin_in_child)


def is_forked() -> bool:
    """Whether this process was forked after torch was there."""
    return _forked


def in_fresh_process[T](call: Callable[..., T], *arguments: Any) -> T:
    """Call a function of a module in the one process that this one passes calls on to.

    It is started with the first call, and ends with this process.

    Raises
    ------
    DeviceError
        That process died of the call. The next call has another one.
    """
    global _fresh
    if _fresh is None:
        context = multiprocessing.get_context("spawn")
        _fresh = ProcessPoolExecutor(1, context, begin_as_child)
        # else this process would wait for that one, which nobody told to end
        Finalize(None, _fresh.shutdown, exitpriority=_BEFORE_QUEUES)
    try:
        with main_module_hidden(), starting_children():
            answer = _fresh.submit(call, *arguments)
        return answer.result()
    except BrokenProcessPool:
        _fresh.shutdown()
        _fresh = None
        raise DeviceError(killed_in_words("a process of the executor")) from None
