"""A fold's folder: its checkpoints, its logs, its numbers per epoch and its pictures.

<run>/fold_<i>/models/      the checkpoints
<run>/fold_<i>/logs/        for TensorBoard
<run>/fold_<i>/metrics.csv  one line per epoch
<run>/fold_<i>/pictures/    of the validation, for the report
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from kernelkit.errors import OutputError, TrainingError
from kernelkit.files import open_atomically

__all__ = ["PICTURES", "FoldFolder", "folds_in", "writing"]

# Suffixes of pictures that a report shows.
PICTURES = (".png", ".jpg")
_METRICS = "metrics.csv"
_FOLD = re.compile(r"fold_(\d+)")


@dataclass(frozen=True)
class FoldFolder:
    """The folder of one fold of a run.

    Attributes
    ----------
    run_folder
        The folder of the run.
    fold
        The number of the fold, counted from 0.
    """

    run_folder: Path
    fold: int

    @property
    def path(self) -> Path:
        """The folder itself."""
        return self.run_folder / f"fold_{self.fold}"

    @property
    def models(self) -> Path:
        """Where the checkpoints lie."""
        return self.path / "models"

    @property
    def logs(self) -> Path:
        """Where the loggers write."""
        return self.path / "logs"

    @property
    def pictures(self) -> Path:
        """Where pictures of the validation lie."""
        return self.path / "pictures"

    @property
    def name(self) -> str:
        """The fold in messages, such as `unet/fold_0`."""
        return f"{self.run_folder.name}/{self.path.name}"

    def make(self) -> None:
        """Make the folders that a training writes to, if they are not there yet.

        Raises
        ------
        OutputError
            One cannot be made.
        """
        with writing(self.path):
            for folder in (self.models, self.logs, self.pictures):
                folder.mkdir(parents=True, exist_ok=True)

    def add_metrics(self, epoch: int, values: Mapping[str, float]) -> None:
        """Add the line of an epoch to metrics.csv.

        Lines of this epoch and of later ones vanish. A run that was cut off begins an epoch again.

        Parameters
        ----------
        epoch
            Counted from 1.
        values
            The epoch's numbers. `loss` is that of the training and `lr` the learning rate. `val`
            and `ema` are the scores of the raw and of the averaged weights, if the epoch was
            validated. Others may stand beside them.

        Raises
        ------
        OutputError
            The file cannot be written.
        TrainingError
            What lies there is not such a file.
        """
        known = self.metrics()
        line = pd.DataFrame([{"epoch": epoch, **values}])
        kept = known[known["epoch"] < epoch]
        table = line if kept.empty else pd.concat([kept, line], ignore_index=True)
        path = self.path / _METRICS
        with writing(path), open_atomically(path) as file:
            table.to_csv(file, index=False, lineterminator="\n")

    def metrics(self) -> pd.DataFrame:
        """The numbers of each epoch. Without a file it has the column `epoch` and no line.

        Raises
        ------
        TrainingError
            The file has no column `epoch`, or is no table.
        """
        path = self.path / _METRICS
        if not path.exists():
            return pd.DataFrame({"epoch": pd.Series(dtype=int)})
        try:
            table = pd.read_csv(path, float_precision="round_trip")
        except (OSError, ValueError) as error:
            raise TrainingError(
                f"{path}: it cannot be read as a table. Remove it, and the curves begin anew"
            ) from error
        if "epoch" not in table or not pd.api.types.is_integer_dtype(table["epoch"]):
            raise TrainingError(
                f"{path}: found no column of epochs. Remove it, and the curves begin anew"
            )
        return table

    def shown(self) -> list[Path]:
        """The pictures of the validation, by their names."""
        if not self.pictures.is_dir():
            return []
        found = (path for path in self.pictures.iterdir() if path.is_file())
        return sorted(path for path in found if path.suffix in PICTURES)


def folds_in(run_folder: Path) -> list[FoldFolder]:
    """The folds that a run folder has, by their numbers."""
    found = [(_FOLD.fullmatch(child.name), child) for child in run_folder.iterdir()]
    numbers = sorted(int(match[1]) for match, child in found if match and child.is_dir())
    return [FoldFolder(run_folder, number) for number in numbers]


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Write to `path` in this block.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written ({error.strerror or error}). Make room and access there, or "
            "choose another output"
        ) from error
