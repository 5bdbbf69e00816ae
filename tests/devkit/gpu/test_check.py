import json
import sys
from pathlib import Path

import pytest
import torch

from devkit.errors import GpuCheckError
from devkit.gpu import __main__ as gpu_check
from devkit.gpu import gather, missing, steps
from devkit.gpu.gather import locked
from devkit.gpu.machine import DEVICE_VARIABLE, Interpreter, find_interpreter
from devkit.gpu.missing import add_missing
from devkit.gpu.report import Report
from devkit.gpu.steps import Step, run_tests
from devkit.tools import REPOSITORY
from tests.made.wheels import make_wheel

HERE = Interpreter(sys.executable, "3.12", "cp312")
TESTS = """
import pytest, time
pytestmark = pytest.mark.gpu

def test_good():
    pass

def test_bad():
    assert False

@pytest.mark.skip(reason="no second GPU")
def test_skipped():
    pass
"""


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which nothing but this Python can be found."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(DEVICE_VARIABLE, raising=False)
    return tmp_path


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.usefixtures("elsewhere")
def test_a_machine_without_a_gpu_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says which torch was found, and how to rehearse. A rehearsal takes that torch."""
    with pytest.raises(
        GpuCheckError, match=rf"torch {torch.__version__[:4]}.*\), wanted one whose"
    ):
        find_interpreter()
    monkeypatch.setenv(DEVICE_VARIABLE, "cpu")
    assert find_interpreter().torch == torch.__version__


@pytest.mark.usefixtures("elsewhere")
def test_a_machine_without_the_demo_is_told_so(tmp_path: Path) -> None:
    """Before the first test, in a sentence that says how to have it. All is well if it is there."""
    networks, picture = gpu_check._DEMO
    (tmp_path / networks).mkdir(parents=True)
    with pytest.raises(GpuCheckError, match=r"he_test_tiled.tiff: this is missing.*make dry-run"):
        gpu_check._refuse_without_demo()
    (tmp_path / picture).parent.mkdir(parents=True)
    (tmp_path / picture).touch()
    gpu_check._refuse_without_demo()


def test_what_is_missing_comes_from_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what it needs in turn. What is there stays, and nothing is added twice."""
    monkeypatch.setattr(missing, "REQUIREMENTS", ("kk-needed>=2", "numpy>=1", "opencv-python>=99"))
    monkeypatch.setattr(missing, "MODULES", {"cv2": "opencv-python>=99"})
    wheels, site = tmp_path / "wheels", tmp_path / "site"
    make_wheel(wheels, "kk-needed", "2.0", requires=["kk-behind==1.0", "kk-elsewhere>=3"])
    make_wheel(wheels, "kk-behind", "1.0")
    make_wheel(wheels, "kk-unused", "1.0")
    added = add_missing(HERE, wheels, site)
    assert sorted(added) == [
        "kk_behind-1.0-py3-none-any.whl",
        "kk_needed-2.0-py3-none-any.whl",
    ]
    assert (site / "kk_needed/__init__.py").is_file()
    assert not (site / "numpy").exists()
    assert add_missing(HERE, wheels, site) == []


def test_a_folder_that_does_not_fill_the_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the package that no wheel is for, and how to gather wheels."""
    monkeypatch.setattr(missing, "REQUIREMENTS", ("kk-needed>=2",))
    make_wheel(tmp_path, "kk-needed", "1.0")
    with pytest.raises(GpuCheckError, match=r"kk-needed>=2\). Gather them by `make gpu-wheels`"):
        add_missing(HERE, tmp_path, tmp_path / "site")


def test_the_machines_own_torch_is_never_replaced(tmp_path: Path) -> None:
    """A wheel of torch in the folder is an error, since it would not fit the driver."""
    make_wheel(tmp_path, "torch", "99.0")
    with pytest.raises(GpuCheckError, match=r"found torch-99\.0.*, wanted those of"):
        add_missing(HERE, tmp_path, tmp_path / "site")


def test_a_lock_gives_the_lines_of_some_packages() -> None:
    """With their hashes, under any spelling of their names."""
    lock = "# made\nPyYAML==6.0 \\\n    --hash=sha256:aa\n    # via x\nzict==1.0 \\\n    --hash=b\n"
    assert locked(lock, ["pyyaml"]) == "PyYAML==6.0 \\\n    --hash=sha256:aa\n    # via x\n"
    with pytest.raises(GpuCheckError, match="the lock has no numpy"):
        locked(lock, ["numpy"])


def test_what_is_gathered_is_locked() -> None:
    """All of it has hashes in both locks. Torch and heavy packages are left out."""
    for file in ("dev.txt", "dev-py313.txt"):
        lock = (REPOSITORY / "requirements" / file).read_text()
        names = gather._names([], lock)
        assert {"rasterio", "affine", "pydantic-core", "timm"} <= set(names)
        assert not {"torch", "numpy", "numba", "scipy", "triton"} & set(names)
        assert {"numba", "llvmlite"} <= set(gather._names(["numba"], lock))
        assert locked(lock, names).count("==") >= len(names)
        with pytest.raises(GpuCheckError, match="torch: this is gathered always, or never"):
            gather._names(["torch"], lock)


def test_tests_are_counted_as_they_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has a line, and one that fails is a problem. So is a run in which none passes."""
    (tmp_path / "tests/gpu").mkdir(parents=True)
    (tmp_path / "tests/gpu/test_made.py").write_text(TESTS)
    (tmp_path / "pyproject.toml").write_text('[tool.pytest.ini_options]\nmarkers = ["gpu: GPU"]\n')
    monkeypatch.chdir(tmp_path)
    step = run_tests(HERE, tmp_path / "site", tmp_path, 60)
    assert step.results["counts"] == {"PASSED": 1, "FAILED": 1, "SKIPPED": 1}
    assert step.results["skipped"] == {"no second GPU": 1}
    assert step.processor_seconds > 0
    assert step.problems == ["FAILED tests/gpu/test_made.py::test_bad - assert False"]
    assert not step.is_good
    none = run_tests(HERE, tmp_path / "site", tmp_path, 60, ["-k", "skipped"])
    assert none.problems == ["no test passed, so nothing was shown"]


def test_a_step_ends_in_time(tmp_path: Path) -> None:
    """What it printed until then is kept, and its exit code is 124."""
    log = tmp_path / "log"
    program = "import time; print('begun', flush=True); time.sleep(60)"
    code, seconds, _ = steps._run([sys.executable, "-c", program], tmp_path, log, 2)
    assert code == 124
    assert seconds < 30
    assert log.read_text().startswith("begun")


def test_a_report_says_whether_all_is_well(tmp_path: Path) -> None:
    """As text, in JSON and by its exit code. A rehearsal is called one."""
    results = {"counts": {"PASSED": 3, "SKIPPED": 2}, "skipped": {"there is one GPU": 2}}
    good = Step("tests", 0, 9.0, 17.0, tmp_path / "log", results)
    bad = Step("benchmark", 1, 1.0, 1.0, tmp_path / "log", problems=["it ended with exit code 1"])
    report = Report(HERE, "cpu", {"torch": "2.11"}, steps=[good])
    assert report.exit_code == 0
    assert "A REHEARSAL on the device cpu" in str(report)
    assert "tests: 3 passed, 2 skipped, 9 s, of processors 17 s (" in str(report)
    assert "\n  2 skipped: there is one GPU\n" in str(report)
    assert str(report).endswith("all is well")
    report.steps.append(bad)
    report.save(tmp_path)
    assert report.exit_code == 1
    assert (tmp_path / "report.txt").read_text().endswith("\nNOT all is well\n")
    saved = json.loads((tmp_path / "report.json").read_text())
    assert saved["exit_code"] == 1
    assert [step["name"] for step in saved["steps"]] == ["tests", "benchmark"]
    assert Report(HERE, "", {}).exit_code == 1
