"""A run that was begun with other settings: what of it may be removed, and what is said."""

from collections.abc import Callable
from pathlib import Path

import pytest

from kernelkit.errors import TrainingError
from kernelkit.training.asked import forget_changed
from kernelkit.training.loop.files import FoldFiles

ASKED = {"recipe": {"epochs": 2, "loss": {"bce": 1}}, "pseudo-labels": "0a1b"}
CHANGED = {"recipe": {"epochs": 3, "loss": {"dice": 1}}, "pseudo-labels": "2c3d"}


def begun(run: Path, folds: int = 2) -> list[FoldFiles]:
    files = [FoldFiles(run / f"fold_{fold}") for fold in range(folds)]
    for each in files:
        each.begin(ASKED)
    (run / "cfg.yaml").write_text("MODEL: {}")
    return files


def content(run: Path) -> dict[str, bytes]:
    found = [path for path in run.rglob("*") if path.is_file()]
    return {str(path.relative_to(run)): path.read_bytes() for path in found}


def test_a_run_without_an_epoch_is_begun_anew(tmp_path: Path) -> None:
    """What changed is said, but of what is known by a hash only the name."""
    begun(tmp_path / "unet")
    said: list[str] = []
    forget_changed(tmp_path / "unet", CHANGED, said.append)
    assert said == [
        "unet: begun anew, because this changed: epochs was 2 and is 3, loss.bce was 1 and is "
        "nothing, loss.dice was nothing and is 1 and 1 more"
    ]
    assert content(tmp_path / "unet") == {}


def test_hashes_are_not_shown(tmp_path: Path) -> None:
    """A change of the pseudo-labels is named, and no more."""
    begun(tmp_path / "unet")
    said: list[str] = []
    forget_changed(tmp_path / "unet", ASKED | {"pseudo-labels": "2c3d"}, said.append)
    assert said == ["unet: begun anew, because this changed: pseudo-labels"]


@pytest.mark.parametrize(
    "train",
    [
        lambda files: files.finish(ASKED, {"checkpoint": ""}),
        lambda files: files.resume.write_bytes(b"an epoch"),
        lambda files: (files.models / "e1_t2_last.pth").write_bytes(b"weights"),
    ],
    ids=["finished", "with an epoch", "with a checkpoint"],
)
def test_a_run_with_a_trained_fold_stays(
    tmp_path: Path, train: Callable[[FoldFiles], object]
) -> None:
    """The sentence names the fold, what changed and what to do. Its sibling stays too."""
    run = tmp_path / "unet"
    train(begun(run)[1])
    before = content(run)
    with pytest.raises(TrainingError) as error:
        forget_changed(run, CHANGED, lambda _: None)
    assert str(error.value).startswith(f"{run}: it holds what was trained otherwise (fold_1). ")
    assert "epochs was 2 and is 3" in str(error.value)
    assert str(error.value).endswith(". Choose another output, or remove this folder")
    assert content(run) == before


def test_what_is_asked_for_again_stays(tmp_path: Path) -> None:
    """Nothing is said, and nothing is removed. No folder is nothing to remove."""
    begun(tmp_path / "unet")
    before = content(tmp_path / "unet")
    said: list[str] = []
    forget_changed(tmp_path / "unet", ASKED, said.append)
    forget_changed(tmp_path / "nothing", ASKED, said.append)
    assert content(tmp_path / "unet") == before
    assert not said
