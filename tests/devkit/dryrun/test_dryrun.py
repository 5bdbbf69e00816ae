import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import nbformat
import psutil
import pytest
from filelock import FileLock

from devkit.dryrun.__main__ import main
from devkit.dryrun.notebook import render, run_notebook, was_killed
from devkit.dryrun.results import draw_overlay, read_checked, results_table
from devkit.dryrun.runtime import Runtime
from devkit.dryrun.scenario import Scenario
from devkit.sandbox.footprint import process_tree
from devkit.tools import REPOSITORY
from kernelkit.predict.report import Report
from tests.made.competition import RECIPE, write_competition, write_models

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("twin")]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe, models and a competition that are not of this repository."""
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "recipe.yaml").write_text(RECIPE)
    write_models(folder / "models")
    write_competition(folder / "competition")
    hidden = {name: ("planar", 90 + 7 * i, 120) for i, name in enumerate("defgh")}
    write_competition(folder / "hidden", hidden, seed=1)
    return folder


def scenario(inputs: Path, working: Path, is_rerun: bool = False) -> Scenario:
    return Scenario(
        recipe=str(inputs / "recipe.yaml"),
        competition=inputs / ("hidden" if is_rerun else "competition"),
        models=inputs / "models",
        working=working / "working",
        is_rerun=is_rerun,
    )


@pytest.mark.parametrize(
    ("code", "killed"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", True),
        ("raise MemoryError", False),
        ("raise SystemExit(138)", False),
    ],
)
def test_a_kernel_that_is_killed_is_told_from_a_cell_that_fails(
    tmp_path: Path, code: str, killed: bool
) -> None:
    """papermill ends with an error either way. Only of a killed kernel no cell has the error."""
    cells = [nbformat.v4.new_code_cell(code), nbformat.v4.new_code_cell("print(1)")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "a.ipynb")
    executed = tmp_path / "b.ipynb"
    command = [sys.executable, "-m", "papermill", tmp_path / "a.ipynb", executed]
    done = subprocess.run(
        [*command, "--kernel", "python3"], capture_output=True, timeout=120, check=False
    )
    assert done.returncode != 0
    assert was_killed(done.returncode, executed) == killed
    assert was_killed(1, executed) == killed


def test_a_notebook_that_was_never_begun_was_not_killed(tmp_path: Path) -> None:
    """Without an executed notebook the exit code alone decides."""
    assert was_killed(137, tmp_path / "b.ipynb")
    assert not was_killed(1, tmp_path / "b.ipynb")
    (tmp_path / "b.ipynb").write_text("{}")
    assert not was_killed(1, tmp_path / "b.ipynb")


def test_two_dry_runs_at_once_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second says so in one line and changes nothing: both would use one dataset."""
    with FileLock(tmp_path / ".dry-run.lock"):
        assert main([], tmp_path) == 1
    error = capsys.readouterr().err
    assert error.startswith(
        f"dry-run failed: {tmp_path}: another dry-run is at work in this folder"
    )
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == [".dry-run.lock"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("send", "number", "code", "line"),
    [
        (os.kill, signal.SIGINT, 130, "dry-run was interrupted"),
        (os.killpg, signal.SIGINT, 130, "dry-run was interrupted"),
        (os.kill, signal.SIGTERM, 143, "dry-run was ended by SIGTERM"),
        (os.kill, signal.SIGKILL, -9, ""),
    ],
    ids=["Ctrl-C to the process", "Ctrl-C in a terminal", "kill", "kill -9"],
)
def test_an_ended_dry_run_leaves_nothing_behind(
    send: Callable[[int, int], None],
    number: int,
    code: int,
    line: str,
    inputs: Path,
    runtime: Runtime,
    tmp_path: Path,
) -> None:
    """While the notebook runs, a signal ends everything, in one line and with its exit code."""
    # an earlier dry-run proved the dataset, so the notebook begins sooner
    shutil.copytree(runtime.dataset.folder, tmp_path / "build/kernel-kaggle-py312")
    main_code = "import sys; from pathlib import Path; from devkit.dryrun.__main__ import main; "
    main_code += "sys.exit(main(sys.argv[2:], Path(sys.argv[1])))"
    command = [sys.executable, "-c", main_code, str(tmp_path / "build")]
    command += ["--competition", str(inputs / "competition"), "--models", str(inputs / "models")]
    command += ["--recipe", str(inputs / "recipe.yaml")]
    with (tmp_path / "output").open("w") as output, (tmp_path / "error").open("w") as error:
        process = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            stdout=output,
            stderr=error,
            start_new_session=True,  # as a terminal does: one signal for the whole group
        )
        tree = wait_for_notebook(process)
        send(process.pid, number)
        process.wait(timeout=60)
    said = (tmp_path / "error").read_text()
    assert process.returncode == code, said
    assert "Traceback" not in said
    assert (said.splitlines() or [""])[-1] == line or not line
    _, alive = psutil.wait_procs(tree, timeout=15)
    assert not alive
    mounts = Path("/proc/self/mounts").read_text()
    assert str(tmp_path) not in mounts
    with FileLock(tmp_path / "build/.dry-run.lock", blocking=False):
        pass


def wait_for_notebook(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The process tree, once the notebook's own process is in it."""
    while process.poll() is None:
        tree = process_tree(process.pid)
        for one in tree:
            try:
                if "ipykernel_launcher" in one.cmdline():
                    return tree
            except psutil.Error:
                pass
        time.sleep(0.05)  # each look reads all of /proc
    raise AssertionError(f"it ended with exit code {process.returncode}")


@pytest.mark.slow
def test_both_ways_of_reading_give_one_submission(
    inputs: Path, runtime: Runtime, tmp_path: Path
) -> None:
    """The notebook writes the same bytes with two reader processes and with none."""
    texts = []
    for workers in (0, 2):
        run = scenario(inputs, tmp_path / str(workers))
        assert run_notebook(run, runtime, workers).exit_code == 0
        masks = read_checked(run)
        texts.append(run.submission.read_bytes())
    assert texts[0] == texts[1]
    report = Report.load(run.report)
    assert report.device.startswith(("CPU", "NVIDIA"))
    assert list(results_table(report, masks)["image"]) == ["a", "b", "c"]
    assert "a-test-competition" in render(run).read_text()
    assert draw_overlay(run, masks).stat().st_size > 1000


@pytest.fixture(scope="module")
def rerun(
    inputs: Path, runtime: Runtime, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Scenario, str]:
    """A hidden rerun on two devices, with a corrupt image, and what it printed."""
    folder = tmp_path_factory.mktemp("rerun")
    run = scenario(inputs, folder, is_rerun=True)
    spoiled = inputs / "hidden/test/g.tiff"
    whole = spoiled.read_bytes()
    spoiled.write_text("no image")
    with printing_to(folder / "log"):
        result = run_notebook(run, runtime, workers=2, devices="cpu cpu")
    spoiled.write_bytes(whole)  # what checks a submission reads the sizes of all images
    log = (folder / "log").read_text()
    assert result.exit_code == 0, log
    return run, log


@contextmanager
def printing_to(path: Path) -> Iterator[None]:
    """Have this process and those that it starts print into a file, each line at once."""
    screen = os.dup(1)
    try:
        with path.open("w") as file:
            os.dup2(file.fileno(), 1)
        with open(1, "w", buffering=1, closefd=False) as out, redirect_stdout(out):
            yield
    finally:
        os.dup2(screen, 1)
        os.close(screen)


@pytest.mark.slow
def test_two_devices_share_the_images(rerun: tuple[Scenario, str]) -> None:
    """Each has a process of its own, also in the twin, where kernelkit comes from its dataset."""
    run, _ = rerun
    report = Report.load(run.report)
    predicted = [image for image in report.images if image.status == "predicted"]
    assert report.counts["predicted"] == len(predicted) == 4
    assert len(read_checked(run)) == 5
    assert {image.device for image in predicted} <= {"cpu (1)", "cpu (2)"}
    assert set(report.first_tile) == {image.device for image in predicted}


@pytest.mark.slow
def test_the_hidden_rerun_predicts_all_images_and_is_never_strict(
    rerun: tuple[Scenario, str],
) -> None:
    """With other ids, other sizes and a corrupt image, limit=1 and strict=True are ignored."""
    run, log = rerun
    assert log.startswith("the notebook runs as on Kaggle")  # in its place in a file, too
    assert "kernelkit: end of the run" in log
    statuses = {image.image: image.status for image in Report.load(run.report).images}
    assert statuses == {
        "d": "predicted",
        "e": "predicted",
        "f": "predicted",
        "g": "fallback",
        "h": "predicted",
    }
    assert run.submission.read_text().count("\n") == 6
