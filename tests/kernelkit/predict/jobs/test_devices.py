"""Processes of devices, with calls that need no torch: how they start, die and end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest
from tqdm import tqdm

from devkit.tools import REPOSITORY
from kernelkit.errors import DeviceError
from kernelkit.predict.jobs import DeviceProcesses, devices_of, processes_on
from kernelkit.predict.jobs.executors import device_of

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def one() -> Iterator[DeviceProcesses]:
    with DeviceProcesses(["cpu"]) as processes:
        yield processes


def variables(*names: str) -> list[str | None]:
    """The environment of the process that is asked."""
    return [os.environ.get(name) for name in names]


def test_two_processes_divide_the_cores() -> None:
    """Each has its own name, and libraries read its share when they are loaded."""
    cores = len(os.sched_getaffinity(0))
    with DeviceProcesses(["cpu", "cpu"]) as two:
        assert [seat.name for seat in two.seats] == ["cpu (1)", "cpu (2)"]
        asked = two.submit(variables, "OMP_NUM_THREADS", "NUMBA_NUM_THREADS")
        assert asked.result() == [str(max(1, cores // 2))] * 2


def lock_of_bars() -> str:
    """The module of the lock of progress bars in the process that is asked."""
    return type(tqdm.get_lock()).__module__


def test_bars_of_a_process_leave_no_semaphore(one: DeviceProcesses) -> None:
    """The process is killed in the end, and Python warns about each that it leaves."""
    assert one.submit(lock_of_bars).result() == "_thread"


@pytest.mark.parametrize(("workers", "wanted"), [(0, 0), (1, 1), (2, 1), (3, 2), (4, 2)])
def test_two_processes_divide_the_readers(workers: int, wanted: int) -> None:
    """Who asks for readers has at least one in each process."""
    assert DeviceProcesses(["cpu", "cpu"]).seats[0].readers(workers) == wanted


def test_a_dead_process_is_started_anew(one: DeviceProcesses) -> None:
    """The call that it died of says which device took it. The next has a new process."""
    first = one.submit(os.getpid).result()
    dying = one.submit(os._exit, 1)
    with pytest.raises(DeviceError, match="the process of cpu died"):
        dying.result()
    assert device_of(dying) == "cpu"
    assert one.submit(os.getpid).result() != first


def test_a_device_that_always_fails_is_given_up(one: DeviceProcesses) -> None:
    """After three failures in a row no call is taken. Without a device nothing waits for ever."""
    dying = [one.submit(os._exit, 1) for _ in range(3)]
    after = one.submit(os.getpid)
    for future in dying:
        with pytest.raises(DeviceError, match="died"):
            future.result()
    with pytest.raises(DeviceError, match="no device is left"):
        after.result()
    with pytest.raises(DeviceError, match="no device is left"):
        one.submit(os.getpid)


def test_processes_that_rest_end_and_the_next_call_starts_others() -> None:
    """They end once their calls are done, and none of that is a failure."""
    with DeviceProcesses(["cpu", "cpu"]) as two:
        calls = [two.submit(os.getpid) for _ in range(2)]
        two.rest()
        before = {call.result() for call in calls}
        assert two.submit(os.getpid).result() not in before
        end = time.monotonic() + 30
        while any(map(psutil.pid_exists, before)):
            assert time.monotonic() < end
            time.sleep(0.01)


def test_processes_that_only_begin_end_at_once() -> None:
    """They would import torch for seconds more. That they are killed is no failure."""
    with DeviceProcesses(["cpu"]) as one:
        for _ in range(4):
            one.begin()
            while not one._doing:
                time.sleep(0.001)
            one.rest()
            assert isinstance(one.submit(os.getpid).result(), int)


def test_a_process_that_is_starting_ends_with_the_block() -> None:
    """Otherwise it would do its whole call first, and the block would wait for it."""
    with DeviceProcesses(["cpu"]) as one:
        call = one.submit(time.sleep, 600)
        while not call.running():
            time.sleep(0.001)
    assert isinstance(call.exception(), DeviceError)


def test_what_a_call_raises_is_raised_here(one: DeviceProcesses) -> None:
    """An error is no death: the process stays."""
    first = one.submit(os.getpid).result()
    with pytest.raises(FileNotFoundError):
        one.submit(os.stat, "/proc/nowhere").result()
    assert one.submit(os.getpid).result() == first


def test_one_device_needs_no_process() -> None:
    """A notebook with one GPU predicts in its own process."""
    with processes_on(["cuda:0"]) as processes:
        assert processes is None


def test_names_of_devices_may_be_parted_by_commas() -> None:
    """As people write lists."""
    assert devices_of("cpu, cpu") == devices_of("cpu cpu") == ["cpu", "cpu"]


SCRIPT = """
import os, time
from kernelkit.predict.jobs import DeviceProcesses

with DeviceProcesses(["cpu", "cpu"]) as two:
    both = [two.submit(time.sleep, 0.5) for _ in range(2)]
    asked = [two.submit(os.getpid) for _ in range(2)]
    two.submit(time.sleep, 100), two.submit(time.sleep, 100)
    print(*(future.result() for future in asked), flush=True)
    two.submit(time.sleep, 100).result()
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_processes_end_with_the_one_that_started_them(how: signal.Signals) -> None:
    """By `kill -9` too. After Ctrl-C in a terminal, one process alone prints a traceback."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    children = [psutil.Process(int(word)) for word in set(process.stdout.readline().split())]
    if how == signal.SIGINT:
        os.killpg(process.pid, how)
    else:
        process.send_signal(how)
    _, said = process.communicate(timeout=60)
    assert psutil.wait_procs(children, timeout=30)[1] == []
    assert said.count("Traceback") == (how == signal.SIGINT)


def test_a_call_waits_for_another_device_than_the_one_that_it_avoids() -> None:
    """As a job does whose process died."""
    with DeviceProcesses(["cpu", "cpu"]) as two:
        first, second = (seat.name for seat in two.seats)
        assert two.submit(where, Avoiding(first)).result() == second
        assert two.submit(where, Avoiding(second)).result() == first


class Avoiding:
    """An argument that says which device it is not for."""

    def __init__(self, device: str) -> None:
        self.avoids = device


def where(_: Avoiding) -> str:
    """The device of the process that is asked."""
    from kernelkit.predict.jobs.seat import own_seat

    seat = own_seat()
    assert seat is not None
    return seat.name
