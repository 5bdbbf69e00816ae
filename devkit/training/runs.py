"""`make runs`: a table of the runs of a models folder, with the leaderboard's scores.

The best and the last score of a run are the means over its folds. A fold's scores stand in its
metrics.csv, or in the names of its checkpoints. The leaderboard's score is the highest one of the
submissions that were made with weights of the run.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from devkit.arguments import Arguments, add_json
from devkit.commands import command
from devkit.competitions import OwnCompetition, add_name, fill_in, models_folder
from devkit.kaggle.settings import load_settings
from devkit.kaggle.submissions.ledger import Entry, Ledger
from devkit.tables import aligned
from devkit.training.scores import entries_of
from kernelkit.console import printable

if TYPE_CHECKING:
    from kernelkit.training.run_summary import FoldSummary

__all__ = ["Run", "main", "read_runs"]


@dataclass(frozen=True)
class Run:
    """What a run reached.

    Attributes
    ----------
    name
        Its folder.
    folds
        What each fold reached.
    entries
        The scored submissions that were made with its weights.
    """

    name: str
    folds: Sequence["FoldSummary"]
    entries: Sequence[Entry]

    @property
    def best(self) -> float | None:
        """The mean of the folds' best scores. None if no fold has one."""
        return _mean([fold.best for fold in self.folds])

    @property
    def last(self) -> float | None:
        """The mean of the folds' last scores. None if no fold has one."""
        return _mean([fold.last for fold in self.folds])

    @property
    def public_score(self) -> float | None:
        """The highest score on the leaderboard. None without a submission."""
        return max(filter(None, map(_number, self.entries)), default=None)

    def row(self) -> dict[str, str]:
        """The run in a table for people."""
        dates = [fold.date for fold in self.folds if fold.date is not None]
        of_folds = " ".join("-" if f.best is None else f"{f.best:.4f}" for f in self.folds)
        return {
            "run": self.name,
            "folds": str(len(self.folds)),
            "best": _shown(self.best),
            "last": _shown(self.last),
            "best of each fold": of_folds,
            "epochs": _epochs(self.folds),
            "date": f"{max(dates):%Y-%m-%d}" if dates else "-",
            "MB": f"{sum(fold.bytes for fold in self.folds) / 1e6:.1f}",
            "leaderboard": "-" if self.public_score is None else f"{self.public_score:g}",
        }

    def content(self) -> dict[str, Any]:
        """All about the run, as JSON has it."""
        return {
            "run": self.name,
            "best": self.best,
            "last": self.last,
            "public_score": self.public_score,
            "folds": [
                {**dataclasses.asdict(fold), "date": fold.date and fold.date.isoformat()}
                for fold in self.folds
            ],
            "submissions": [entry.model_dump(mode="json") for entry in self.entries],
        }


def read_runs(models: Path, entries: Sequence[Entry] = ()) -> list[Run]:
    """The runs of a models folder, by their names.

    Parameters
    ----------
    models
        The folder of the run folders, or one run.
    entries
        Those of the ledger.

    Raises
    ------
    CheckpointError
        There is no such folder, or no run in it.
    """
    # torch takes seconds to import
    from kernelkit.checkpoints.run_folders import folds_of, matching_runs
    from kernelkit.training.run_summary import fold_summary

    return [
        Run(
            name=folder.name,
            folds=[fold_summary(fold) for fold in folds_of(folder)],
            entries=entries_of(models, folder.name, entries),
        )
        for folder in matching_runs(models, ["*"])
    ]


@command("runs")
def main(arguments: list[str] | None = None) -> int:
    """Run the command line. The exit code is 0 if there is at least one run."""
    options, own = _parse(arguments)
    models_folder(options.models)
    ledger = Ledger(options.ledger or load_settings(own.settings_file if own else None).ledger)
    runs = read_runs(options.models.resolve(), ledger.entries())
    if options.json:
        print(json.dumps([run.content() for run in runs], indent=1))
    else:
        rows = [run.row() for run in runs]
        for line in aligned([list(rows[0]), *(list(row.values()) for row in rows)]):
            print(printable(line))
    return 0


def _parse(arguments: list[str] | None) -> tuple[argparse.Namespace, OwnCompetition | None]:
    parser = Arguments("runs", "python -m devkit.training.runs", description=__doc__)
    parser.add_models(
        "the folder of the run folders, or one run (default: build/models, or that of your own "
        "competition)"
    )
    add_name(parser)
    add_json(parser)
    parser.add_argument(
        "--ledger",
        type=Path,
        metavar="FILE",
        help="the ledger of submissions (default: that of kaggle.toml)",
    )
    options = parser.parse_args(arguments)
    own = None
    if options.own_competition or options.models is None:
        own = fill_in(parser, options, models=("models_folder", "build/models"))
    return options, own


def _mean(scores: Sequence[float | None]) -> float | None:
    known = [score for score in scores if score is not None]
    return sum(known) / len(known) if known else None


def _number(entry: Entry) -> float | None:
    try:
        return float(entry.public_score)
    except ValueError:  # such as of a competition that shows none
        return None


def _shown(score: float | None) -> str:
    return "-" if score is None else f"{score:.4f}"


def _epochs(folds: Sequence["FoldSummary"]) -> str:
    """How far the folds came, such as `50`, `8-10` or `3 of 50`."""
    reached, total = [fold.epochs for fold in folds], max((fold.total for fold in folds), default=0)
    low, high = min(reached, default=0), max(reached, default=0)
    shown = str(high) if low == high else f"{low}-{high}"
    return shown if total in (0, low) else f"{shown} of {total}"


if __name__ == "__main__":
    sys.exit(main())
