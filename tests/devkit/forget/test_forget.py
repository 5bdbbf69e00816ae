import io
import os
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

from devkit.forget.__main__ import main
from devkit.forget.usage import measure


class Terminal(io.StringIO):
    """A keyboard at which somebody has typed."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in which a demo was made, and which has a folder outside linked in."""
    for variable, name in (("HOME", "home"), ("XDG_CACHE_HOME", "cache"), ("TMPDIR", "tmp")):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(variable, str(tmp_path / name))
    for variable in ("TORCH_HOME", "HF_HOME", "UV_CACHE_DIR", "KAGGLE_CONFIG_DIR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("tempfile.tempdir", None)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    demo = tmp_path / "project/build/demo"
    demo.mkdir(parents=True)
    (demo / "picture.png").write_bytes(bytes(250_000))
    os.link(demo / "picture.png", demo / "again.png")
    (demo / "linked").symlink_to(precious)
    (tmp_path / "project/build/twins").symlink_to(precious)
    return tmp_path / "project"


def test_the_table_has_names_sizes_and_what_makes_it_again(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is removed without WHAT. A file with two names counts once, a link as itself."""
    assert main([], repository) == 0
    lines = capsys.readouterr().out.splitlines()
    demo = next(line for line in lines if line.startswith("demo"))
    assert "0.3 MB" in demo
    assert "make dry-run" in demo
    assert any(line.startswith("twins") and "(a link)" in line for line in lines)
    assert (repository / "build/demo/picture.png").is_file()


def test_what_makes_a_thing_again_names_whose_it_is(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a competition of one's own, a command without a name would make something else."""
    monkeypatch.setenv("KERNELKIT_RECIPES", str(repository.parent / "mine"))
    recipe = repository.parent / "mine/slides/recipe.yaml"
    recipe.parent.mkdir(parents=True)
    recipe.touch()
    for name in ("weights", "cuts"):
        (repository / "build" / name).mkdir()
    assert main([], repository) == 0
    said = capsys.readouterr().out
    assert "make kernel-dataset SETTINGS=kaggle.toml, make weights-dataset SETTINGS=" in said
    assert "make cuts RECIPE=...\n" in said


def test_what_is_named_goes_and_no_link_is_followed(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a link only the link is removed, wherever it lies."""
    (repository / "build/demo").chmod(0o500)
    assert main(["demo", "twins", "--yes"], repository) == 0
    assert sorted(path.name for path in (repository / "build").iterdir()) == [".dry-run.lock"]
    assert (repository.parent / "precious/thesis.txt").read_text() == "years of work"
    assert capsys.readouterr().out.splitlines()[-1].endswith("removed")


@pytest.mark.parametrize(("answer", "is_gone"), [("y\n", True), ("\n", False), ("never\n", False)])
def test_somebody_at_a_terminal_is_asked(
    answer: str, is_gone: bool, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only yes is a yes."""
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    assert main(["demo"], repository) == (0 if is_gone else 1)
    assert (repository / "build/demo").exists() != is_gone


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["demo"], "nobody can be asked. Add YES=1"),
        (["dmeo", "--yes"], "Did you mean demo"),
        (["uv", "--yes"], "which other programs use too"),
    ],
)
def test_what_may_not_be_removed_stays(
    arguments: list[str], said: str, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line says why, and the exit code is 1."""
    (repository.parent / "cache/uv").mkdir()
    assert main(arguments, repository) == 1
    assert said in capsys.readouterr().err
    assert (repository / "build/demo/picture.png").is_file()
    assert (repository.parent / "cache/uv").is_dir()


def test_nothing_goes_while_a_dry_run_is_at_work(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would lose what it reads."""
    with FileLock(repository / "build/.dry-run.lock"):
        assert main(["demo", "--yes"], repository) == 1
    assert "a dry-run is at work" in capsys.readouterr().err
    assert (repository / "build/demo/picture.png").is_file()


def test_what_lies_behind_a_linked_build_folder_stays(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The user linked a disk of their own there."""
    (repository / "build").rename(repository.parent / "disk")
    (repository / "build").symlink_to(repository.parent / "disk")
    assert main(["demo", "--yes"], repository) == 1
    assert "it is a link to" in capsys.readouterr().err
    assert (repository.parent / "disk/demo/picture.png").is_file()


def test_credentials_are_named_and_not_read(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file's path is all that is shown."""
    token = repository.parent / "home/.kaggle/access_token"
    token.parent.mkdir()
    token.write_text("KGAT_0123456789abcdef")
    token.chmod(0)
    assert main([], repository) == 0
    shown = capsys.readouterr().out
    assert f"{token} holds Kaggle's credentials" in shown
    assert "KGAT_" not in shown


def test_a_temporary_folder_goes_once_no_run_can_use_it(repository: Path) -> None:
    """What was used within a day may belong to a run that goes on."""
    temporary = repository.parent / "tmp"
    for name, age in (
        ("kernelkit-old", 2 * 86400),
        ("kernelkit-new", 60),
        ("others-old", 2 * 86400),
    ):
        (temporary / name).mkdir()
        (temporary / name / "file").write_text("")
        os.utime(temporary / name / "file", (time.time() - age,) * 2)
    assert main(["temporary", "--yes"], repository) == 0
    assert sorted(path.name for path in temporary.iterdir()) == ["kernelkit-new", "others-old"]


def test_what_vanishes_while_it_is_measured_is_no_error(tmp_path: Path) -> None:
    """Its size is nothing."""
    assert measure([tmp_path / "gone"]).files == 0
