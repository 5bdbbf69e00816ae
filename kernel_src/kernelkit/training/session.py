"""A training in a session of limited hours, as a notebook on Kaggle has it.

A session that runs over its hours leaves nothing. So the training stops before, and what it wrote
becomes the notebook's output. If that output is an input of the next session, the training goes on
after its last whole epoch.
"""

import glob
import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import pandas as pd

from kernelkit.competition.folder import mounted_folder
from kernelkit.errors import DeadlineError, KernelKitError, TrainingError, as_sentence
from kernelkit.predict.deadline import Deadline
from kernelkit.training.cuts import make_cuts
from kernelkit.training.fold_folder import folds_in, writing
from kernelkit.training.recipe import RunRecipe, TrainingRecipe
from kernelkit.training.run_config import train_section
from kernelkit.training.run_summary import fold_summary
from kernelkit.training.train import train
from kernelkit.yamlfile import read_yaml

__all__ = ["TrainingSession"]

# Where the output of another notebook, a dataset or a model is mounted, in both layouts.
_MOUNTS = ("*", "notebooks/*/*", "datasets/*/*", "models/*/*/*/*/*")


@dataclass
class TrainingSession:
    """Some folds of a training recipe, trained in this session as far as its time goes.

    Attributes
    ----------
    training
        What is trained.
    competition
        The competition's folder. If it is not there, Kaggle's other layout of mounts is tried.
    output
        The models folder.
    cuts
        The folder of the images at the scale of the training.
    runs, folds
        Which of them. Without any, all.
    workers
        How many processes read.
    hours
        How long the session may last, counted from now.
    chosen
        The runs that are trained.
    end
        How the training ended, in a sentence. Empty before.
    is_whole
        Whether all was trained that was asked for.
    """

    training: TrainingRecipe
    competition: Path
    output: Path
    cuts: Path
    runs: Sequence[str] = ()
    folds: Sequence[int] = ()
    workers: int = 0
    hours: float = 9.0
    chosen: list[RunRecipe] = field(init=False)
    end: str = field(default="", init=False)
    is_whole: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._deadline = Deadline(self.hours)
        self.competition = mounted_folder(self.competition)
        self.chosen = self.training.chosen_runs(self.runs)

    @property
    def run_folders(self) -> list[Path]:
        """The folders of the chosen runs that are there."""
        folders = [self.output / run.name for run in self.chosen]
        return [folder for folder in folders if (folder / "cfg.yaml").is_file()]

    def take_up(self, inputs: Path) -> list[str]:
        """Copy what an earlier session trained of the chosen runs, if it is among the inputs.

        A run that is in the output already stays as it is. Of several copies, the one with the most
        epochs is taken.

        Parameters
        ----------
        inputs
            The folder below which inputs are mounted.

        Returns
        -------
        A sentence per run that was found.

        Raises
        ------
        OutputError
            The output cannot be written to.
        """
        said = []
        for run in self.chosen:
            if (self.output / run.name).exists():
                continue
            found = _earlier(run.name, inputs)
            same = [folder for folder in found if _is_same(folder, run)]
            if same:
                farthest = max(same, key=_epochs)
                with writing(self.output / run.name):
                    _copy(farthest, self.output / run.name)
                said.append(f"{run.name} goes on after {_epochs(farthest)} epochs of {farthest}")
            elif found:
                said.append(f"{run.name} begins anew: {found[0]} was trained with other settings")
        return said

    def make_cuts(self) -> pd.DataFrame:
        """Make the cuts of the chosen runs, and return a table of their windows.

        Raises
        ------
        TrainingError, LabelError, OutputError
            As `make_cuts` of `kernelkit.training.cuts`.
        """
        rows: list[dict[str, Any]] = []
        for run in self.chosen:
            cuts = make_cuts(run, self.competition, self.cuts, self.workers, progress=True)
            kept = cuts.windows[cuts.windows["skip"] == ""]
            rows.append(
                {
                    "run": run.name,
                    "images": len(cuts.images),
                    "folds": cuts.folds.count,
                    **{
                        f"windows of {name}": n for name, n in kept["source"].value_counts().items()
                    },
                    "left out": len(cuts.windows) - len(kept),
                    "notes": ". ".join(cuts.notes),
                }
            )
        return pd.DataFrame(rows).fillna(0)

    def train(self) -> pd.DataFrame:
        """Train until all is done or the time is over, and return a table of the folds.

        Raises
        ------
        KernelKitError
            Nothing was trained that could be used. What goes wrong after the first checkpoint only
            ends the training, since a notebook that fails has no output.
        """
        try:
            with _ending_at(self._deadline):
                train(
                    self.training,
                    self.competition,
                    self.output,
                    cuts=self.cuts,
                    runs=self.runs,
                    folds=self.folds,
                    workers=self.workers,
                )
        except DeadlineError:
            self.end = (
                "the session's time is over. Add this notebook's output to its inputs and run it "
                "again. The training then goes on after its last whole epoch"
            )
        except KernelKitError as error:
            if not any(summary.checkpoints for _, summary in self._summaries()):
                raise
            self.end = f"the training ended early: {as_sentence(error)}"
        else:
            self.end = "all folds are trained"
            self.is_whole = True
        return self.table()

    def table(self) -> pd.DataFrame:
        """What each fold reached so far."""
        rows = [
            {
                "run": name,
                "fold": one.name,
                "best": one.best,
                "at epoch": one.best_epoch,
                "last": one.last,
                "epochs": one.epochs,
                "of": self.training.runs[name].epochs,
                "checkpoints": one.checkpoints,
                "MB": round(one.bytes / 1e6, 1),
            }
            for name, one in self._summaries()
        ]
        return pd.DataFrame(rows)

    def _summaries(self) -> Iterator[tuple[str, Any]]:
        for folder in self.run_folders:
            for fold in folds_in(folder):
                yield folder.name, fold_summary(fold.path)


def _earlier(name: str, inputs: Path) -> list[Path]:
    """The folders of a run's name below the inputs, where outputs and datasets are mounted."""
    places = [f"{mount}/{inner}{glob.escape(name)}" for mount in _MOUNTS for inner in ("", "*/")]
    found = [path for place in places for path in inputs.glob(f"{place}/cfg.yaml")]
    return sorted({path.parent for path in found})


def _is_same(folder: Path, run: RunRecipe) -> bool:
    """Whether a folder is that of a run with the same settings."""
    try:
        said = read_yaml(folder / "cfg.yaml", TrainingError).get("TRAIN")
    except TrainingError:
        return False
    wanted = train_section(run)
    if not isinstance(said, dict):
        return False
    if run.auto_statistics:  # these are found later
        for content in (said, wanted):
            content["input"] = {**content.get("input", {}), "mean": None, "std": None}
    return said == wanted


def _epochs(folder: Path) -> int:
    """How many epochs all folds of a run have together."""
    return sum(fold_summary(fold.path).epochs for fold in folds_in(folder))


def _copy(source: Path, target: Path) -> None:
    """Copy a folder's plain files. Links are left out, and nothing stays read-only."""
    unfinished = target.with_name(f".{target.name}-unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    for path in sorted(source.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        copy = unfinished / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    unfinished.replace(target)


@contextmanager
def _ending_at(deadline: Deadline) -> Iterator[None]:
    """Raise a DeadlineError in the block once the deadline is over.

    Only the main thread of a process gets signals. That is where a notebook's cells run.
    """

    def end(_number: int, _frame: FrameType | None) -> None:
        raise DeadlineError("the session's time is over")

    if deadline.is_over:
        raise DeadlineError("the session's time is over")
    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, deadline.seconds_left)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
