"""The numbers of a fold per epoch, and what a fold reached."""

import datetime
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelkit.errors import TrainingError
from kernelkit.training.fold_folder import FoldFolder, folds_in
from kernelkit.training.fold_result import FoldResult
from kernelkit.training.run_summary import fold_summary

EPOCHS = st.lists(st.tuples(st.integers(1, 6), st.floats(0, 1)), max_size=12)


@settings(max_examples=40)
@given(EPOCHS)
def test_metrics_are_those_of_the_last_time_that_each_epoch_was_trained(
    lines: list[tuple[int, float]],
) -> None:
    """A run that goes on at an epoch forgets it and what came after it."""
    with tempfile.TemporaryDirectory() as name:
        fold = FoldFolder(Path(name), 0)
        wanted: dict[int, float] = {}
        for epoch, loss in lines:
            fold.add_metrics(epoch, {"loss": loss})
            wanted = {number: kept for number, kept in wanted.items() if number < epoch}
            wanted[epoch] = loss
        found = fold.metrics()
        assert list(found["epoch"]) == list(wanted)
        assert list(found.get("loss", [])) == list(wanted.values())


def test_an_epoch_may_have_numbers_that_others_lack(tmp_path: Path) -> None:
    """Only some epochs are validated."""
    fold = FoldFolder(tmp_path, 3)
    fold.add_metrics(1, {"loss": 1.0})
    fold.add_metrics(2, {"loss": 0.5, "val": 0.25})
    assert (tmp_path / "fold_3/metrics.csv").read_text() == "epoch,loss,val\n1,1.0,\n2,0.5,0.25\n"


@pytest.mark.parametrize(
    "content", [b"", b"loss\n1\n", b"epoch\nfirst\n", b"\xff\xfe\x00", b'epoch,loss\n1,"2\n']
)
def test_a_file_that_is_no_table_of_epochs_is_refused(content: bytes, tmp_path: Path) -> None:
    """The sentence names it and says how to go on."""
    (tmp_path / "fold_0").mkdir()
    (tmp_path / "fold_0/metrics.csv").write_bytes(content)
    with pytest.raises(TrainingError, match=r"fold_0/metrics.csv: .* the curves begin anew"):
        FoldFolder(tmp_path, 0).metrics()


def test_folds_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    """fold_10 comes after fold_2, and other folders are no folds."""
    for name in ("fold_10", "fold_2", "src", "fold_x"):
        (tmp_path / name).mkdir()
    (tmp_path / "fold_3").write_text("no folder")
    assert [fold.fold for fold in folds_in(tmp_path)] == [2, 10]


def write(fold: Path, names: list[str], numbers: str = "") -> Path:
    (fold / "models").mkdir(parents=True)
    for seconds, name in enumerate(names):
        path = fold / "models" / name
        path.write_bytes(b"12345")
        os.utime(path, (seconds, seconds))
    if numbers:
        (fold / "metrics.csv").write_text(numbers)
    return fold


def test_a_summary_has_the_best_score_of_the_names_and_the_last_one_of_the_numbers(
    tmp_path: Path,
) -> None:
    """A checkpoint is only written on improvement, so names alone do not know the last score."""
    names = ["e2_t8_cmax_val_0.7000.pth", "e4_t8_cmax_ema_0.8000.pth", "e8_t8_last.pth"]
    numbers = "epoch,loss,val,ema\n2,1,.7,.6\n4,1,.75,.8\n7,1,,\n8,1,.5,.55\n"
    found = fold_summary(write(tmp_path / "fold_1", names, numbers))
    assert (found.best, found.best_epoch, found.weights, found.last) == (0.8, 4, "ema", 0.55)
    assert (found.epochs, found.total, found.checkpoints) == (8, 8, 3)
    assert found.bytes == 3 * 5 + len(numbers)
    assert found.date == datetime.datetime(1970, 1, 1, 0, 0, 2, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("names", "best", "epochs"),
    [
        (["epoch=29-dice=0.91.ckpt", "epoch=9-dice=0.5.ckpt"], 0.91, 29),
        (["best.pth"], None, 0),
        ([], None, 0),
    ],
)
def test_a_fold_of_another_training_is_summed_up_by_its_names(
    names: list[str], best: float | None, epochs: int, tmp_path: Path
) -> None:
    """It has no numbers per epoch."""
    found = fold_summary(write(tmp_path / "0", names))
    assert (found.best, found.epochs, found.checkpoints) == (best, epochs, len(names))


def test_without_checkpoints_the_numbers_say_the_best_score(tmp_path: Path) -> None:
    """No epoch was above the floor, so nothing was saved."""
    numbers = "epoch,loss,val,ema\n2,1,.2,.1\n4,1,.1,.15\n"
    found = fold_summary(write(tmp_path / "fold_0", [], numbers))
    assert (found.best, found.best_epoch, found.weights, found.last) == (0.2, 2, "raw", 0.15)
    assert found.date is None


def test_the_table_and_the_line_of_a_fold_name_its_weights_alike() -> None:
    """Weights as they are trained are raw, and not "val", which is a word of file names."""
    result = FoldResult("unet", 0, metric="dice", score=0.5, weights="val", epoch=2)
    assert (result.kind, FoldResult("unet", 0, metric="dice").kind) == ("raw", "")
    assert "raw weights after epoch 2" in str(result)
    assert str(FoldResult("unet", 0, epochs=1, total=1)) == "unet/fold_0: 1 epoch, no checkpoint"
