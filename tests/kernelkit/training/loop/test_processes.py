import os
import signal
import subprocess
import sys
from collections.abc import Callable

import psutil
import pytest

from devkit.sandbox.footprint import process_tree
from devkit.tools import REPOSITORY
from kernelkit.errors import TrainingError
from kernelkit.training.loop.processes import in_processes
from tests.made import seated


def test_results_come_in_order_with_one_bar_and_a_line_each(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Each task is in another process than this one, and the bar counts what all of them did."""
    results = in_processes(
        seated.count_to, [(n,) for n in (5, 3, 4)], workers=2, steps=12, say=lambda r: f"did {r[0]}"
    )
    assert [number for number, _, _ in results] == [5, 3, 4]
    assert {seat for _, seat, _ in results} <= {0, 1}
    assert os.getpid() not in {process for _, _, process in results}
    shown = capfd.readouterr()
    assert "12/12" in shown.out + shown.err
    assert all(f"did {number}" in shown.out for number in (5, 3, 4))


def test_a_failed_task_ends_the_others_with_its_own_error() -> None:
    """One that would count for ever does not outlive it."""
    with pytest.raises(TrainingError, match="cannot count to -1"):
        in_processes(
            seated.count_to, [(1,), (-1,)], workers=2, steps=1, say=lambda _: "", show=False
        )
    left = [child.cmdline() for child in psutil.Process().children(recursive=True)]
    assert not [line for line in left if any("spawn_main" in word for word in line)]


def test_a_process_that_dies_is_an_error() -> None:
    """The sentence says what to do."""
    with pytest.raises(TrainingError, match="training process died.* smaller batch"):
        in_processes(seated.die, [()], workers=1, steps=1, say=str, show=False)


@pytest.mark.parametrize("send", [os.kill, os.killpg], ids=["process", "terminal"])
def test_interrupted_tasks_end_with_the_command(send: Callable[[int, int], None]) -> None:
    """Ctrl-C ends the command and all its tasks at once, in one line and with exit code 130."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.made.seated"],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # as a terminal does: one signal for the whole group
    )
    assert process.stdout
    while "counting" not in process.stdout.readline():
        assert process.poll() is None
    tree = process_tree(process.pid)
    send(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert error.splitlines()[-1] == "count was interrupted"
    assert "Traceback" not in error
    assert len(tree) >= 2
    _, alive = psutil.wait_procs(tree, timeout=10)
    assert not alive
