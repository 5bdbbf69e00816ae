"""A training in a session of limited hours, and the next session that goes on."""

import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

import kernelkit.training.session as module
from kernelkit.errors import OutputError, RecipeError
from kernelkit.training import look
from kernelkit.training.fold_folder import FoldFolder
from kernelkit.training.session import TrainingSession
from tests.made.training_run import load_training, write_trained

MOUNTS = ["kernelkit-train", "notebooks/alice/kernelkit-train", "datasets/alice/runs/models"]
MODEL = "models/alice/runs/pytorch/big/1"


def session(folder: Path, overrides: tuple[str, ...] = (), **more: Any) -> TrainingSession:
    training = load_training(folder / "recipes", {}, {"core": 96}, overrides)
    places = (folder / "competition", folder / "working", folder / "cuts")
    return TrainingSession(training, *places, **more)


def write_earlier(folder: Path, mount: str, epochs: int) -> Path:
    """What an earlier session left of the run, as it is mounted: read-only."""
    run = session(folder).training.runs["small"]
    earlier = write_trained(run, folder / "inputs" / mount, (epochs,))
    for epoch in range(1, epochs + 1):
        FoldFolder(earlier, 0).add_metrics(epoch, {"loss": 1.0})
    (earlier / "fold_0/resume.ckpt").write_bytes(b"resume")
    for path in sorted(earlier.rglob("*"), reverse=True):
        path.chmod(0o555 if path.is_dir() else 0o444)
    return earlier


def files(folder: Path) -> dict[str, bytes]:
    found = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@pytest.mark.parametrize("mount", [*MOUNTS, MODEL])
def test_an_earlier_output_is_taken_up_wherever_it_is_mounted(mount: str, tmp_path: Path) -> None:
    """All of its files are there again, and can be written to."""
    earlier = write_earlier(tmp_path, mount, 2)
    course = session(tmp_path)
    assert course.take_up(tmp_path / "inputs") == [f"small goes on after 2 epochs of {earlier}"]
    copy = tmp_path / "working/small"
    assert files(copy) == files(earlier)
    FoldFolder(copy, 0).add_metrics(3, {"loss": 1.0})
    shutil.rmtree(copy)
    assert course.take_up(tmp_path / "nowhere") == []


def test_the_competition_is_found_in_either_layout_of_mounts(tmp_path: Path) -> None:
    """A notebook names the newer one, and a session may have the older one."""
    training = load_training(tmp_path / "recipes", {}, {"core": 96})
    older = tmp_path / "input/a-slug"
    older.mkdir(parents=True)
    newer = tmp_path / "input/competitions/a-slug"
    course = TrainingSession(training, newer, tmp_path / "working", tmp_path / "cuts")
    assert course.competition == older


def test_of_several_outputs_the_farthest_is_taken_up(tmp_path: Path) -> None:
    """A session may have had less time than one before it."""
    for mount, epochs in zip(MOUNTS, (1, 3, 2), strict=True):
        write_earlier(tmp_path, mount, epochs)
    [said] = session(tmp_path).take_up(tmp_path / "inputs")
    assert f"after 3 epochs of {tmp_path}/inputs/{MOUNTS[1]}" in said


def test_a_run_of_other_settings_is_not_taken_up(tmp_path: Path) -> None:
    """It is said, and the training begins anew."""
    write_earlier(tmp_path, MOUNTS[0], 2)
    [said] = session(tmp_path, ("epochs=9",)).take_up(tmp_path / "inputs")
    assert said.startswith("small begins anew: ")
    assert not (tmp_path / "working/small").exists()


def test_means_that_are_found_later_are_no_other_settings(tmp_path: Path) -> None:
    """The windows say them once there are cuts, in this session as in the one before."""
    training = load_training(tmp_path / "recipes", {}, {"core": 96}, input={"mean": "auto"})
    run = training.runs["small"]
    write_trained(run.with_statistics((0.5,) * 3, (0.1,) * 3), tmp_path / "inputs/train")
    places = (tmp_path / "competition", tmp_path / "working", tmp_path / "cuts")
    [said] = TrainingSession(training, *places).take_up(tmp_path / "inputs")
    assert "goes on" in said


def test_what_is_in_the_output_already_stays(tmp_path: Path) -> None:
    """A notebook that is run again by hand goes on with its own files."""
    write_earlier(tmp_path, MOUNTS[0], 2)
    (tmp_path / "working/small").mkdir(parents=True)
    assert session(tmp_path).take_up(tmp_path / "inputs") == []


def test_links_of_an_input_are_not_followed(tmp_path: Path) -> None:
    """An input from elsewhere could name any file of the session."""
    earlier = write_earlier(tmp_path, MOUNTS[0], 1)
    earlier.chmod(0o755)
    (tmp_path / "secret").write_text("secret")
    (earlier / "link.txt").symlink_to(tmp_path / "secret")
    session(tmp_path).take_up(tmp_path / "inputs")
    assert "link.txt" not in files(tmp_path / "working/small")


def test_a_session_ends_before_its_hours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was trained stays, and the next session is told how to go on. No timer is left."""
    begun: list[float] = []

    def train(*_: Any, **__: Any) -> None:
        begun.append(time.monotonic())
        write_trained(course.training.runs["small"], tmp_path / "working")
        time.sleep(60)

    monkeypatch.setattr(module, "train", train)
    course = session(tmp_path, hours=2 / 3600)
    table = course.train()
    assert time.monotonic() - begun[0] < 20
    assert not course.is_whole
    assert course.end.startswith("the session's time is over. Add this notebook's output")
    assert list(table["checkpoints"]) == [1]
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_what_fails_after_the_first_checkpoint_only_ends_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A notebook that fails has no output, and the finished folds would be lost."""

    def train(*_: Any, **__: Any) -> None:
        raise OutputError("the disk is full")

    monkeypatch.setattr(module, "train", train)
    course = session(tmp_path)
    with pytest.raises(OutputError, match="the disk is full"):
        course.train()
    write_trained(course.training.runs["small"], tmp_path / "working")
    course.train()
    assert course.end == "the training ended early: the disk is full"
    assert not course.is_whole


def test_a_run_that_does_not_exist_is_named_at_once(tmp_path: Path) -> None:
    """Before any image is read."""
    with pytest.raises(RecipeError, match="there is no run other. Name one of small"):
        session(tmp_path, runs=["other"])


def test_what_cannot_be_shown_says_why(tmp_path: Path) -> None:
    """The runs are trained already, so nothing fails."""
    course = session(tmp_path)
    assert repr(look.reports(course.run_folders)) == "no run was begun"
    folder = write_trained(course.training.runs["small"], tmp_path / "working")
    (folder / "fold_0/metrics.csv").write_text("no table")
    assert "no report of small, because: " in repr(look.reports([folder]))
