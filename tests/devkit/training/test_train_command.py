"""What `make train` takes, and what it shows."""

import subprocess
import sys
from pathlib import Path

import pytest

from devkit.tools import REPOSITORY
from devkit.training.__main__ import main
from tests.made.squares import write_squares


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("squares")
    write_squares(folder)
    return folder


def run(folder: Path, *more: str) -> int:
    where = ["--competition", str(folder / "competition"), "--output", str(folder / "models")]
    recipe = str(folder / "train.yaml")
    return main([recipe, *where, "--cuts", str(folder / "cuts"), *more])


def test_a_fold_is_trained_and_shown_in_a_table(
    squares: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table has its score, and the bar a line. A second call trains nothing."""
    chosen = ["--run", "squares", "--fold", "1", "--set", "epochs=1", "--set", "steps=4"]
    chosen += ["--set", "validate.floor=0"]
    assert run(squares, *chosen) == 0
    first = capsys.readouterr().out.splitlines()
    assert "starting 1 fold" in first
    assert any("squares/fold_1: best dice 0." in line for line in first)
    assert first[-2].split()[0] == "squares/fold_1"
    assert first[-3].split()[:3] == ["fold", "best", "weights"]
    assert run(squares, *chosen) == 0
    again = capsys.readouterr().out.splitlines()
    assert not any(line.startswith("starting") for line in again)
    assert again[-2] == first[-2]


def test_what_is_wrong_is_said_in_one_line(
    squares: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code is 1."""
    assert run(squares, "--run", "circles") == 1
    assert run(squares, "--set", "epochz=3") == 1
    assert main(["hubmap", "--competition", str(squares / "nowhere")]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["train failed"] * 3
    assert "Name one of squares" in lines[0]
    assert "epochz" in lines[1]
    assert "there is no such folder" in lines[2]


@pytest.mark.parametrize("wrong", [["--fold", "-1"], ["--fold", "x"], ["--workers", "many"], []])
def test_arguments_are_checked_before_torch_is_imported(wrong: list[str]) -> None:
    """A wrong one, or a missing one, is named at once."""
    code = (
        "import sys; from devkit.training.__main__ import main\n"
        f"try: main(['hubmap', *{wrong!r}])\n"
        "except SystemExit as end: print(end.code, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env={"PYTHONPATH": "kernel_src:."},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["2", "False"]
    assert (wrong[0] if wrong else "--competition") in done.stderr
