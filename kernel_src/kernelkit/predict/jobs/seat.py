"""Where a process of `DeviceProcesses` sits: its device, and its share of the machine.

It imports no torch. Libraries read how many threads they may start when they are imported.
"""

import os
import threading
from dataclasses import dataclass
from multiprocessing.sharedctypes import Synchronized

from tqdm import tqdm

from kernelkit.children import end_with_parent

__all__ = ["Seat", "begin_as_child", "own_seat", "take_seat", "tick"]

# read by OpenMP, MKL, OpenBLAS and numba when they are loaded
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Seat:
    """The device of one process, and its share of the machine.

    Attributes
    ----------
    name
        What reports call it.
    device
        As torch names it.
    sharers
        How many processes share the machine.
    threads
        How many threads its libraries may start.
    """

    name: str
    device: str
    sharers: int
    threads: int

    def readers(self, workers: int) -> int:
        """Its share of reader processes. If there are any, it has at least one."""
        return -(-workers // self.sharers)


_seat: Seat | None = None
_ticks: "Synchronized[int] | None" = None


def begin_as_child() -> None:
    """Let this process end with the one that started it, and leave nothing behind."""
    end_with_parent()
    # its own is a semaphore of the system, which a process that is killed leaves behind
    tqdm.set_lock(threading.RLock())


def take_seat(seat: Seat, ticks: "Synchronized[int]") -> None:
    """Let this process have a seat. It ends with the one that started it.

    Parameters
    ----------
    ticks
        Counts what all processes have done, for the bar of their parent.
    """
    global _seat, _ticks
    begin_as_child()
    _ticks = ticks
    for name in _THREADS:
        os.environ[name] = str(seat.threads)
    _seat = seat


def tick(amount: int) -> None:
    """Count work for the bar of the process that started this one, if it has a seat."""
    if _ticks is not None:
        with _ticks.get_lock():
            _ticks.value += amount


def own_seat() -> Seat | None:
    """The seat of this process. None if it has none, as on another machine."""
    return _seat
