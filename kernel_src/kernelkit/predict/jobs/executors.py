"""What an executor says of itself, beyond the interface of `concurrent.futures`, and how to use it.

>>> from concurrent.futures import ThreadPoolExecutor
>>> names_of(ThreadPoolExecutor(2))
['process 1', 'process 2']
"""

import multiprocessing
import pickle
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from kernelkit.children import main_module_hidden
from kernelkit.errors import DeviceError, kind_of

__all__ = ["device_of", "names_of", "refuse_no_executor", "starting_processes", "ticks_of"]


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


def refuse_no_executor(executor: object) -> None:
    """Refuse what cannot take calls.

    Raises
    ------
    DeviceError
        It is no executor. Or this process is one of an executor's own, and imports the script that
        made it.
    """
    if not callable(getattr(executor, "submit", None)):
        raise DeviceError(
            f"executor: found {kind_of(executor)}, wanted an executor of concurrent.futures, such "
            "as DeviceProcesses"
        )
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise DeviceError(
            "executor: found a script that each of its processes runs once more. Put what it does "
            'below: if __name__ == "__main__"'
        )


def starting_processes(executor: Executor, pickled: bytes) -> AbstractContextManager[None]:
    """Keep processes that a pool starts from running its script once more, for a `with` block.

    Parameters
    ----------
    pickled
        What they get. If that or the pool's initializer is of the script, they have to run it.
    """
    if not isinstance(executor, ProcessPoolExecutor) or b"__main__" in pickled:
        return nullcontext()
    made_by: Any = executor  # it shows neither how it starts processes nor how these begin
    begins_with = _pickled((made_by._initializer, made_by._initargs))
    if made_by._mp_context.get_start_method() == "fork" or b"__main__" in begins_with:
        return nullcontext()
    return main_module_hidden()


def _pickled(content: object) -> bytes:
    """The content as bytes. What can only be pickled for a new process may be of the script."""
    try:
        return pickle.dumps(content)
    except Exception:  # pickle raises many kinds
        return b"__main__"
