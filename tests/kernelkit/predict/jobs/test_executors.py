"""Executors of the standard library: forked processes, and processes that would run the script."""

import multiprocessing
import os
import sys
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor

import pytest

from kernelkit.errors import DeviceError
from kernelkit.predict.jobs.executors import starting_processes
from kernelkit.predict.jobs.forked import in_fresh_process, is_forked

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def forking() -> Iterator[ProcessPoolExecutor]:
    """A pool that forks, as one does that is not told otherwise."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        yield pool


def passed_on() -> tuple[bool, bool, int]:
    """Whether the process that is asked was forked, whether its own was, and that one's number."""
    return is_forked(), in_fresh_process(is_forked), in_fresh_process(os.getpid)


def test_a_forked_process_passes_calls_on_to_one_of_its_own(forking: ProcessPoolExecutor) -> None:
    """That one begins with nothing, and stays for the next call."""
    first, second = (forking.submit(passed_on).result() for _ in range(2))
    assert first == second
    assert first[:2] == (True, False)
    assert not is_forked()


def test_a_process_that_died_is_followed_by_another(forking: ProcessPoolExecutor) -> None:
    """Its death is an error of the call, and the pool stays whole."""
    before = forking.submit(passed_on).result()
    with pytest.raises(DeviceError, match="a process of the executor died"):
        forking.submit(in_fresh_process, os._exit, 1).result()
    assert forking.submit(passed_on).result() != before


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process runs a script, whatever it was that started the tests."""
    monkeypatch.setattr(sys.modules["__main__"], "__file__", "script.py", raising=False)


def started_by_script(executor: Executor, pickled: bytes = b"") -> bool:
    """Whether processes that start now would run the script that made the executor."""
    with starting_processes(executor, pickled):
        return "__file__" in vars(sys.modules["__main__"])


@pytest.mark.usefixtures("script")
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_processes_of_a_pool_do_not_run_its_script(method: str) -> None:
    """Unless what they get or how they begin is of the script."""
    context = multiprocessing.get_context(method)
    assert not started_by_script(ProcessPoolExecutor(1, context))
    assert not started_by_script(ProcessPoolExecutor(1, context, os.getpid))
    assert started_by_script(ProcessPoolExecutor(1, context), b"c__main__\nfunction")
    assert started_by_script(ProcessPoolExecutor(1, context, lambda: None))


@pytest.mark.usefixtures("script")
def test_what_starts_no_script_is_left_alone() -> None:
    """Threads and forked processes have the script as it is."""
    assert started_by_script(ThreadPoolExecutor(1))
    assert started_by_script(ProcessPoolExecutor(1, multiprocessing.get_context("fork")))
