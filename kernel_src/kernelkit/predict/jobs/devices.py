"""`DeviceProcesses`: an executor with one process per device, which starts a dead one anew."""

import multiprocessing
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from kernelkit.children import main_module_hidden, starting_children
from kernelkit.errors import DeviceError
from kernelkit.memory import killed_in_words
from kernelkit.predict.jobs.seat import Seat, take_seat

__all__ = ["DeviceProcesses", "devices_of", "processes_on"]

# a device that fails so often without any success in between gets no more jobs
_FAILURES = 3


def devices_of(wanted: str = "auto") -> list[str]:
    """The devices that a text names, such as `cuda:0 cuda:1`. `auto` is every GPU, else one CPU.

    Raises
    ------
    DeviceError
        There is no such device.
    """
    import torch

    from kernelkit.ensemble.device import choose_device

    if wanted.strip() == "auto":
        return [f"cuda:{number}" for number in range(torch.cuda.device_count())] or ["cpu"]
    names = wanted.replace(",", " ").split()
    if not names:
        raise DeviceError("found no name of a device, wanted auto, cpu, or GPUs such as cuda:0")
    return [str(choose_device(name)) for name in names]


@contextmanager
def processes_on(devices: Sequence[str]) -> Iterator["DeviceProcesses | None"]:
    """One process per device, for the length of a `with` block. One device alone needs none."""
    if len(devices) < 2:
        yield None
        return
    with DeviceProcesses(devices) as processes:
        processes.begin()
        yield processes


class _SeatFuture(Future[Any]):
    """A call's future.

    Attributes
    ----------
    device
        The name of the seat that took the call. Empty until one has.
    """

    device = ""


@dataclass
class _Waiting:
    """A call that no process has yet.

    Attributes
    ----------
    call
        None ends the process of the seat that takes it.
    only_for
        The name of the only seat that may take it. Empty if any may.
    """

    future: _SeatFuture
    call: Callable[..., Any] | None
    arguments: tuple[Any, ...] = ()
    keywords: dict[str, Any] = field(default_factory=dict)
    only_for: str = ""

    def is_for(self, seat: Seat, is_alone: bool) -> bool:
        """Whether a seat may take it. One that is alone takes also what avoids it."""
        if self.only_for:
            return self.only_for == seat.name
        return is_alone or self.avoids != seat.name

    @property
    def avoids(self) -> str:
        """The name of the seat that it is not for."""
        return next((getattr(each, "avoids", "") for each in self.arguments), "")


class DeviceProcesses(Executor):
    """An executor with one process per device.

    Processes start when there is something to do. They end with this one, however it ends. The end
    of a `with` block kills them, so all that is wanted has to be done by then.

    Parameters
    ----------
    devices
        One per process, such as `["cuda:0", "cuda:1"]`. `["cpu", "cpu"]` divides the cores.

    Attributes
    ----------
    lanes
        How many calls run at once.
    seats
        The device of each process, and its share of the machine.
    """

    _context = multiprocessing.get_context("spawn")

    def __init__(self, devices: Sequence[str]) -> None:
        if not devices:
            raise DeviceError("found no device, wanted one per process. Give them as devices_of")
        cores = len(os.sched_getaffinity(0))
        counts, taken = Counter(devices), Counter[str]()
        self.seats = []
        for device in devices:
            name = f"{device} ({taken[device] + 1})" if counts[device] > 1 else device
            taken[device] += 1
            threads = max(1, cores // len(devices))
            self.seats.append(Seat(name, device, len(devices), threads))
        self.lanes = len(devices)
        self._waiting: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._serving: set[str] = set()
        self._processes: dict[str, int] = {}
        self._doing: dict[str, Callable[..., Any] | None] = {}
        self._resting: set[str] = set()
        self._is_closing = False
        self._is_killing = False
        self._ticks = self._context.Value("q", 0)

    @property
    def ticks(self) -> int:
        """How much work its processes have done, also within jobs that are not finished."""
        return self._ticks.value

    def begin(self) -> None:
        """Have processes start and import torch, while this one does other things."""
        for _ in self.seats:
            self.submit(import_module, "kernelkit.predict.jobs.job")

    def rest(self) -> None:
        """Have its processes end, since they are not needed for now. The next call starts anew.

        What was submitted is done before. Those that only begin are killed.
        """
        with self._changed:
            for name in self._serving:
                self._waiting.append(_Waiting(_SeatFuture(), None, only_for=name))
                if self._doing.get(name) is import_module:
                    self._resting.add(name)
                    if name in self._processes:
                        _kill(self._processes[name])
            self._changed.notify_all()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Have a process call a function of a module.

        Raises
        ------
        DeviceError
            It was shut down, or no device is left.
        """
        with self._changed:
            if self._is_closing:
                raise DeviceError("these processes were shut down. Make new ones")
            self._start_threads()
            if not self._serving:
                raise DeviceError("no device is left whose process works")
            task = _Waiting(_SeatFuture(), fn, args, kwargs)
            self._waiting.append(task)
            self._changed.notify_all()
        return task.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End all processes, once what was submitted is done or at once with `cancel_futures`."""
        with self._changed:
            self._is_closing = True
            if cancel_futures:
                self._is_killing = True  # also those that are just starting
                for task in self._waiting:
                    task.future.cancel()
                self._waiting.clear()
                for process in self._processes.values():
                    _kill(process)
            self._changed.notify_all()
        if wait:
            for thread in self._threads:
                thread.join()

    def __exit__(self, *_: object) -> None:
        self.shutdown(cancel_futures=True)

    def _start_threads(self) -> None:
        if self._threads:
            return
        self._serving = {seat.name for seat in self.seats}
        for seat in self.seats:
            # Linux ties a process to the thread that started it, so that has to live as long
            thread = threading.Thread(
                target=self._serve, args=(seat,), name=f"kernelkit-{seat.name}", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def _serve(self, seat: Seat) -> None:
        """Pass calls to the process of one device, until there are no more."""
        pool: ProcessPoolExecutor | None = None
        failures = 0
        while failures < _FAILURES and (task := self._next(seat)) is not None:
            if not task.future.set_running_or_notify_cancel():
                continue
            task.future.device = seat.name
            if task.call is None:
                self._end(seat, pool)
                pool = None
                self._resting.discard(seat.name)
                continue
            try:
                pool = pool or self._new_pool(seat)
                result = pool.submit(task.call, *task.arguments, **task.keywords).result()
            except BrokenProcessPool:
                self._end(seat, pool)
                pool = None
                failures += seat.name not in self._resting
                killed = killed_in_words(f"the process of {seat.name}")
                task.future.set_exception(DeviceError(killed))
            except BaseException as error:
                failures += 1
                task.future.set_exception(error)
            else:
                failures = 0
                task.future.set_result(result)
        self._end(seat, pool)
        self._leave(seat)

    def _next(self, seat: Seat) -> _Waiting | None:
        """The next call for a seat. None if no more will come."""
        with self._changed:
            while True:
                is_alone = len(self._serving) == 1
                for task in self._waiting:
                    if task.is_for(seat, is_alone):
                        self._waiting.remove(task)
                        self._doing[seat.name] = task.call
                        return task
                self._doing.pop(seat.name, None)
                if self._is_closing:
                    return None
                self._changed.wait()

    def _leave(self, seat: Seat) -> None:
        """Let a seat have no more calls. Without any seat, what waits is given up."""
        with self._changed:
            self._serving.discard(seat.name)
            if not self._serving:
                for task in self._waiting:
                    if task.future.set_running_or_notify_cancel():
                        error = DeviceError("no device is left whose process works")
                        task.future.set_exception(error)
                self._waiting.clear()
            self._changed.notify_all()

    def _new_pool(self, seat: Seat) -> ProcessPoolExecutor:
        pool = ProcessPoolExecutor(1, self._context, take_seat, (seat, self._ticks))
        with main_module_hidden(), starting_children():
            process = pool.submit(os.getpid)
        number = process.result()
        with self._changed:
            self._processes[seat.name] = number
            if self._is_killing or seat.name in self._resting:
                _kill(number)
        return pool

    def _end(self, seat: Seat, pool: ProcessPoolExecutor | None) -> None:
        with self._changed:
            self._processes.pop(seat.name, None)
        if pool is not None:
            pool.shutdown()


def _kill(process: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)
