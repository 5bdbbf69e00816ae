import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from devkit.demo.prepare import models_key
from devkit.demo.processes import in_processes
from devkit.demo.runs import RUNS
from devkit.demo.stage import Stage, fingerprint
from devkit.sandbox.footprint import process_tree
from devkit.tools import REPOSITORY
from kernelkit.errors import CheckpointError
from tests.made import counting_task


def test_tasks_run_in_processes_under_one_progress_bar(capfd: pytest.CaptureFixture[str]) -> None:
    """Each task's line comes from another process, and the bar counts all steps."""
    in_processes(counting_task.count_to, [(2,), (5,), (3,)], steps=10)
    shown = capfd.readouterr()
    lines = [line for line in shown.out.splitlines() if "counted to" in line]
    assert sorted(line.split(" in ")[0] for line in lines) == [f"counted to {n}" for n in (2, 3, 5)]
    assert not any(line.endswith(f" in {os.getpid()}") for line in lines)
    assert "10/10" in shown.err


def test_a_failed_task_ends_the_others_with_its_own_error() -> None:
    """What a task raises in its process is raised here."""
    with pytest.raises(CheckpointError, match="cannot count to -1"):
        in_processes(counting_task.count_to, [(-1,)], steps=1)


@pytest.mark.parametrize("send", [os.kill, os.killpg], ids=["process", "terminal"])
def test_interrupted_tasks_end_with_the_command(send: Callable[[int, int], None]) -> None:
    """Ctrl-C ends the command and all its tasks at once, in one line and with exit code 130."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.made.counting_task"],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # as a terminal does: one signal for the whole group
    )
    assert process.stdout
    assert process.stdout.readline() == "counting\n"
    tree = process_tree(process.pid)
    send(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 130, error
    assert error.splitlines()[-1] == "count was interrupted"
    assert "Traceback" not in error
    assert len(tree) >= 2
    _, alive = psutil.wait_procs(tree, timeout=5)
    assert not alive


def test_a_changed_run_changes_the_key() -> None:
    """The models are trained again if a value of any run changes, and only then."""
    changed = (*RUNS[:-1], replace(RUNS[-1], learning_rate=1e-3))
    assert models_key() == models_key(RUNS)
    assert models_key(changed) != models_key(RUNS)


def test_a_changed_source_changes_the_key(tmp_path: Path) -> None:
    """A fingerprint is of what the files hold."""
    source = tmp_path / "source.py"
    source.write_text("a = 1")
    before = fingerprint([source])
    source.write_text("a = 2")
    assert fingerprint([source]) != before


def test_a_finished_stage_is_done_until_key_or_files_change(tmp_path: Path) -> None:
    """Another key, a file that is gone and a file that was cut short each undo a stage."""
    stage = Stage(tmp_path, "cook", key="k1")
    assert not stage.is_done()
    with stage.draft() as draft:
        (draft / "pots").mkdir()
        (draft / "pots" / "one.txt").write_text("soup")
    assert stage.is_done()
    assert not Stage(tmp_path, "cook", key="k2").is_done()
    (tmp_path / "pots" / "one.txt").write_text("sou")
    assert not stage.is_done()
    (tmp_path / "pots" / "one.txt").unlink()
    assert not stage.is_done()


def test_a_failed_stage_leaves_what_was_there(tmp_path: Path) -> None:
    """What a stage made before stays until a later draft is complete."""
    with Stage(tmp_path, "cook", key="k1").draft() as draft:
        (draft / "one.txt").write_text("soup")

    def burn() -> None:
        with Stage(tmp_path, "cook", key="k2").draft() as draft:
            (draft / "one.txt").write_text("coal")
            raise RuntimeError("burnt")

    with pytest.raises(RuntimeError, match="burnt"):
        burn()
    assert (tmp_path / "one.txt").read_text() == "soup"
    assert Stage(tmp_path, "cook", key="k1").is_done()
