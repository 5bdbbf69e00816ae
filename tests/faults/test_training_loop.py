"""Faults of trainings: what is asked for or goes wrong, and the sentence that says so."""

import math
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from devkit.tools import REPOSITORY
from kernelkit.errors import KernelKitError, TrainingError
from kernelkit.training.alone import training_alone
from kernelkit.training.loop.files import FoldFiles
from kernelkit.training.loop.fold import Fold, fit
from kernelkit.training.loop.module import Parts
from kernelkit.training.recipe import TrainingRecipe
from kernelkit.training.train import train
from tests.made.small_fold import Notes, SquareLoader, lose, parts, small_fold
from tests.made.squares import write_squares

# A fault before the first step: its name, changes of the recipe, more arguments, the sentence.
type Row = tuple[str, list[str], dict[str, Any], str]

BEFORE: list[Row] = [
    (
        "a run that does not exist",
        [],
        {"runs": ["circles"]},
        "there is no run circles. Name one of squares",
    ),
    (
        "a fold that does not exist",
        [],
        {"folds": [2]},
        "found fold 2, wanted one of 0 to 1",
    ),
    (
        "a logger that is not installed",
        ["loggers=[tensorboard, mlflow]"],
        {},
        "mlflow is asked for, but it is not installed. Install the package mlflow, or leave it",
    ),
    (
        "an empty fold",
        ["folds.lists=null", "folds.table=gaps.csv"],
        {},
        "the fold 1 of 3 has no image. Count folds from 0",
    ),
    (
        "no training image left",
        ["folds={lists: [[t0, t1, t2, t3]]}"],
        {},
        "none trains. Give some another fold",
    ),
    (
        "only blank windows",
        ["blank=[{mean_above: 1}]"],
        {},
        "All were blank, or there are none of this kind",
    ),
    (
        "a GPU that is not there",
        [],
        {"devices": "cuda:7"},
        "cuda:7: this machine has no GPU",
    ),
    (
        "a device that does not exist",
        [],
        {"devices": "cpu,abacus"},
        'there is no device "abacus". Choose auto, cpu, or a GPU',
    ),
]


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("squares")
    competition = write_squares(folder)
    (competition / "gaps.csv").write_text("image,fold\nt0,0\nt1,2\nt2,2\nt3,-1\n")
    return folder


def start(squares: Path, folder: Path, changes: Sequence[str] = (), **more: Any) -> None:
    train(
        TrainingRecipe.load(squares / "train.yaml", changes),
        squares / "competition",
        folder / "models",
        cuts=squares / "cuts",
        progress=False,
        **{"say": lambda _: None} | more,
    )


@pytest.mark.parametrize("row", BEFORE, ids=lambda row: row[0])
def test_what_cannot_be_trained_is_said_before_the_first_step(
    squares: Path, tmp_path: Path, row: Row
) -> None:
    """One sentence says what was found, what was wanted and what to do. No run is begun."""
    _, changes, more, sentence = row
    with pytest.raises(KernelKitError) as error:
        start(squares, tmp_path, changes, **more)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.rglob("fold_*"))


def trained_otherwise(run: Path) -> FoldFiles:
    """A fold that was begun with seven epochs."""
    files = FoldFiles(run / "fold_0")
    files.begin({"recipe": {"epochs": 7}})
    return files


# What lies in the way of a run: its name, what writes it, the sentence.
IN_THE_WAY: list[tuple[str, Callable[[Path], object], str]] = [
    (
        "a finished fold of other settings",
        lambda run: trained_otherwise(run).finish({"recipe": {"epochs": 7}}, {"checkpoint": ""}),
        "it holds what was trained otherwise (fold_0). Since then this changed: epochs was 7 and "
        "is 2",
    ),
    (
        "a checkpoint of other settings",
        lambda run: (trained_otherwise(run).models / "e1_t7_last.pth").write_bytes(b"weights"),
        "Choose another output, or remove this folder",
    ),
    (
        "a checkpoint of nobody knows what",
        lambda run: [
            (trained_otherwise(run).models / "e1_t7_last.pth").write_bytes(b"weights"),
            (run / "fold_0" / "fold.json").write_text("half"),
        ],
        "found checkpoints, and no fold.json that says how they were trained. Remove the folder",
    ),
]


@pytest.mark.parametrize("row", IN_THE_WAY, ids=lambda row: row[0])
def test_what_lies_in_the_way_is_said_and_stays(
    squares: Path, tmp_path: Path, row: tuple[str, Callable[[Path], object], str]
) -> None:
    """One sentence says what is there and what to do. No file of a fold is touched."""
    _, write, sentence = row
    write(tmp_path / "models" / "squares")
    before = {path: path.read_bytes() for path in tmp_path.rglob("fold_*/**/*") if path.is_file()}
    with pytest.raises(TrainingError) as error:
        start(squares, tmp_path)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)
    after = {path: path.read_bytes() for path in tmp_path.rglob("fold_*/**/*") if path.is_file()}
    assert after == before


def test_a_forgotten_division_is_said_before_the_first_step(squares: Path, tmp_path: Path) -> None:
    """Pixels of 8 bits that are divided by 1 are far from 0 and 1. It is no error."""
    said: list[str] = []
    (trained_otherwise(tmp_path / "models" / "squares").models / "e1.pth").write_bytes(b"weights")
    given = "input={bands: [1, 2, 3], divide: 1, mean: [0, 0, 0], std: [1, 1, 1]}"
    with pytest.raises(TrainingError, match="trained otherwise"):
        start(squares, tmp_path, [given], say=said.append)
    [note] = said
    assert note.startswith("squares: after normalisation, band ")
    assert "wanted about 0 and 1. Correct the input's divide (1), mean or std" in note


def test_a_second_training_of_a_run_is_refused(squares: Path, tmp_path: Path) -> None:
    """It is while another process trains the run, and not once that was killed."""
    run = tmp_path / "models" / "squares"
    code = (
        "import sys, pathlib\n"
        "from kernelkit.training.alone import training_alone\n"
        "with training_alone([pathlib.Path(sys.argv[1])]): print('alone', flush=True), input()"
    )
    command = [sys.executable, "-c", code, str(run)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=REPOSITORY / "kernel_src"
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"alone\n"
        with pytest.raises(TrainingError) as error:
            start(squares, tmp_path)
        other.kill()
    assert str(error.value) == (
        f"{run}: another training writes to this run. Wait until it has ended, or choose another "
        "output"
    )
    assert not run.exists()
    with training_alone([run, run.with_name("other")]):
        pass


def late(change: Callable[[torch.Tensor], torch.Tensor]) -> Parts:
    """Parts whose loss changes in the last step of the second epoch."""
    losses = []

    def lose_late(answer: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        losses.append(1)
        loss = lose(answer, targets)
        return change(loss) if len(losses) == 8 else loss

    return parts(lose=lose_late)


def no_room(loss: torch.Tensor) -> torch.Tensor:
    """Let no file grow any more, as on a full disk."""
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, most))
    return loss


def out_of_memory(_: torch.Tensor) -> torch.Tensor:
    """What a GPU says whose memory is full."""
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


class PooledNorm(torch.nn.Module):
    """A norm of the mean of all pixels, as DeepLabV3 has one."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.last = torch.nn.BatchNorm2d(3), torch.nn.Conv2d(3, 1, 1)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.last(pixels + self.norm(pixels.mean((2, 3), keepdim=True)))


# A fault in the middle: its name, what is changed of a small fold, the sentence.
AMID: list[tuple[str, Callable[[], dict[str, Any]], str]] = [
    (
        "a loss that is no number",
        lambda: {"parts": late(lambda loss: loss * math.nan)},
        "the loss became nan in epoch 2, step 4, at a learning rate of 0.0",
    ),
    (
        "an infinite loss",
        lambda: {"parts": late(lambda loss: loss * math.inf)},
        "the loss became inf in epoch 2, step 4",
    ),
    (
        "a full disk at the checkpoint",
        lambda: {"parts": late(no_room)},
        "it cannot be written (File too large). What was written before stays: e1_t3_cmax_",
    ),
    (
        "a GPU whose memory is full",
        lambda: {"parts": late(out_of_memory)},
        "squares/fold_0: cpu has too little memory for this training. Make 'batch' smaller",
    ),
    (
        "a norm that sees one value",
        lambda: {"parts": parts(network=PooledNorm()), "loader": SquareLoader(batch=1)},
        "torch.Size([1, 3, 1, 1])). A norm learns nothing from one value. Train with 'batch' of 2",
    ),
    (
        "a network of other bands",
        lambda: {"parts": parts(network=torch.nn.Conv2d(4, 1, 1))},
        "the network cannot answer to a batch of shape (4, 3, 32, 32) (RuntimeError: Given groups",
    ),
    (
        "a fold without windows",
        lambda: {"loader": SquareLoader(steps=0)},
        "squares/fold_0: there is no window to train on",
    ),
    (
        "a fold without validation images",
        lambda: {"pictures": {}},
        "squares/fold_0: no image validates it",
    ),
]


@pytest.mark.parametrize(("name", "changes", "sentence"), AMID, ids=[row[0] for row in AMID])
def test_what_goes_wrong_in_a_fold_is_said(
    tmp_path: Path, name: str, changes: Callable[[], dict[str, Any]], sentence: str
) -> None:
    """It ends with one sentence. What was written before is whole."""
    fold: Fold = small_fold(tmp_path / "fold_0", epochs=3, **changes())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(KernelKitError) as error:
            fit(fold, [torch.device("cpu")], lambda _: None, lambda _: Notes())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert sentence in str(error.value), name
    assert not str(error.value).endswith(".")
    for path in fold.files.models.iterdir():
        assert path.suffix == ".pth", "no half file is left"
        assert torch.load(path, weights_only=True)["epoch"] == 1
