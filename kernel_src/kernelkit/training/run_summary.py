"""What a fold reached, by its numbers per epoch and by the names of its checkpoints.

Folders of other trainings have no numbers per epoch. The names of their checkpoints often say an
epoch and a score, so their folds have a summary too.
"""

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from kernelkit.checkpoints.checkpoint_files import checkpoint_stem
from kernelkit.checkpoints.run_folders import checkpoints_of
from kernelkit.checkpoints.snapshots import Snapshot
from kernelkit.errors import TrainingError
from kernelkit.training.fold_folder import FoldFolder

__all__ = ["SCORES", "FoldSummary", "fold_summary"]

# The scores of one epoch: of the raw weights, and of the averaged ones.
SCORES = ("val", "ema")
_TOTAL = re.compile(r"(?<![A-Za-z\d])t(\d+)(?![\d.])")


@dataclass(frozen=True)
class FoldSummary:
    """What a fold reached.

    Attributes
    ----------
    name
        The fold's folder.
    best, best_epoch
        The highest score, and the epoch that reached it. None if nothing says one.
    weights
        Which weights have it: `ema` or `raw`. Empty if nothing says so.
    last
        The score of the last epoch that was validated.
    epochs, total
        The last epoch, and how many were asked for. 0 if nothing says it.
    checkpoints
        How many there are.
    bytes
        Of all the fold's files.
    date
        When its newest checkpoint was written. None without checkpoints.
    """

    name: str
    best: float | None
    best_epoch: int | None
    weights: str
    last: float | None
    epochs: int
    total: int
    checkpoints: int
    bytes: int
    date: datetime.datetime | None


def fold_summary(fold: Path) -> FoldSummary:
    """What the fold in a folder reached. Numbers that cannot be read count as not there."""
    snapshots = [Snapshot.read(path, checkpoint_stem(path)) for path in checkpoints_of(fold)]
    networks = [snapshot for snapshot in snapshots if snapshot.standing != "other"]
    scored = [snapshot for snapshot in networks if snapshot.score is not None]
    best = max(scored, key=lambda snapshot: snapshot.rank, default=None)
    last = max(scored, key=lambda snapshot: (snapshot.epoch, snapshot.rank), default=None)
    epochs = max((snapshot.epoch for snapshot in networks), default=-1)
    totals = [int(found[1]) for s in networks if (found := _TOTAL.search(s.path.stem))]
    numbers = _numbers(fold)
    files = [path for path in fold.rglob("*") if path.is_file()]
    written = [snapshot.path.stat().st_mtime for snapshot in snapshots]
    reached = _reached(numbers)
    named = (best.score, best.epoch, best.kind) if best else reached[:3]
    return FoldSummary(
        name=fold.name,
        best=named[0],
        best_epoch=named[1] if named[1] is not None and named[1] >= 0 else None,
        weights=str(named[2]),
        last=reached[3] if reached[3] is not None else last.score if last else None,
        epochs=max(epochs, int(numbers["epoch"].max()) if len(numbers) else -1, 0),
        total=max(totals, default=0),
        checkpoints=len(networks),
        bytes=sum(path.stat().st_size for path in files),
        date=_date(written),
    )


def _numbers(fold: Path) -> pd.DataFrame:
    name = fold.name.removeprefix("fold_")
    if name.isdecimal() and fold.name.startswith("fold_"):
        try:
            return FoldFolder(fold.parent, int(name)).metrics()
        except TrainingError:
            pass
    return pd.DataFrame({"epoch": pd.Series(dtype=int)})


def _reached(numbers: pd.DataFrame) -> tuple[float | None, int | None, str, float | None]:
    """The best score with its epoch and weights, and the last score."""
    columns = [name for name in SCORES if name in numbers]
    scores = numbers[["epoch", *columns]].dropna(subset=columns, how="all")
    if not columns or scores.empty:
        return None, None, "", None
    higher = scores[columns].max(axis=1)
    row = scores.loc[higher.idxmax()]
    weights = "ema" if row[columns].astype(float).idxmax() == "ema" else "raw"
    return float(higher.max()), int(row["epoch"]), weights, float(higher.iloc[-1])


def _date(written: Sequence[float]) -> datetime.datetime | None:
    if not written:
        return None
    return datetime.datetime.fromtimestamp(max(written), datetime.UTC).replace(microsecond=0)
