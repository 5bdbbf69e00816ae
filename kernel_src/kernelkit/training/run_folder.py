"""A run's folder: what a training leaves for inference, for evaluation and for people.

<run>/cfg.yaml          what was trained, and all that inference needs (see run_config)
<run>/folds.csv         which image validates which fold
<run>/src/              with which code
<run>/requirements.txt  with which versions
<run>/fold_<i>/         checkpoints, logs, numbers and pictures (see fold_folder)
<run>/metrics.csv       the numbers of all folds
<run>/report.html       curves, scores and pictures on one page
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pandas as pd

from kernelkit.errors import TrainingError
from kernelkit.files import open_atomically
from kernelkit.training.fold_folder import FoldFolder, folds_in, writing
from kernelkit.training.report_page import report_page
from kernelkit.training.run_config import config_text, refuse_other_config, run_config
from kernelkit.training.run_sources import requirements_text, write_sources

if TYPE_CHECKING:
    from kernelkit.training.recipe import RunRecipe

__all__ = ["FoldFolder", "begin_run", "finish_run"]


class _Folds(Protocol):
    """What is wanted of folds: how many, which image validates which, and a table of that."""

    @property
    def count(self) -> int: ...

    def validation(self, fold: int) -> Sequence[str]: ...

    def write(self, path: Path) -> None: ...


def begin_run(run: "RunRecipe", output: Path, folds: _Folds) -> Path:
    """Begin a run's folder, or find it begun by an earlier call with the same settings.

    Parameters
    ----------
    run
        What is trained, with the mean and the std that its pixels are normalised by.
    output
        The models folder. The run's folder lies in it.
    folds
        Which images validate which fold.

    Returns
    -------
    The folder of the run.

    Raises
    ------
    OutputError
        It cannot be written.
    TrainingError
        A run of other settings or other folds lies there.
    """
    folder = output / run.name
    config = run_config(run, [len(folds.validation(fold)) for fold in range(folds.count)])
    path = folder / "cfg.yaml"
    if path.exists():
        refuse_other_config(path, config)
        _refuse_other_folds(folder / "folds.csv", folds)
        return folder
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_sources(run.description, folder / "src")
        with open_atomically(folder / "requirements.txt") as file:
            file.write(requirements_text())
        folds.write(folder / "folds.csv")
        # last, since it marks the folder as begun
        with open_atomically(path) as file:
            file.write(config_text(config))
    return folder


def _refuse_other_folds(path: Path, folds: _Folds) -> None:
    """Refuse to go on with images that change their folds, since they would be trained on."""
    with tempfile.TemporaryDirectory() as name:
        wanted = Path(name) / path.name
        folds.write(wanted)
        if not path.is_file() or path.read_bytes() != wanted.read_bytes():
            raise TrainingError(
                f"{path}: it is not the table of folds that this training has. Choose another "
                "output, remove that run, or correct the recipe's folds"
            )


def finish_run(folder: Path) -> Path:
    """Write metrics.csv and report.html of a run, from what its folds have so far.

    It may be called again, such as after each fold.

    Returns
    -------
    The report.

    Raises
    ------
    OutputError
        One of them cannot be written.
    TrainingError
        There is no such run, or a fold's numbers cannot be read.
    """
    if not (folder / "cfg.yaml").is_file():
        raise TrainingError(f"{folder}: found no cfg.yaml, wanted the folder of a run. Train first")
    folds = folds_in(folder)
    tables = [fold.metrics() for fold in folds]
    for fold, table in zip(folds, tables, strict=True):
        table.insert(0, "fold", fold.fold)
    numbers = [table for table in tables if len(table)]
    metrics = pd.concat(numbers, ignore_index=True) if numbers else pd.DataFrame({"fold": []})
    report, page = folder / "report.html", report_page(folder, folds)
    with writing(report):
        with open_atomically(folder / "metrics.csv") as file:
            metrics.to_csv(file, index=False, lineterminator="\n")
        with open_atomically(report) as file:
            file.write(page)
    return report
