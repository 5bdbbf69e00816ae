"""The submissions of one run: each checked as the competition would, and scored."""

from itertools import combinations
from pathlib import Path
from statistics import fmean

import pandas as pd

from devkit.dryrun.results import read_checked
from devkit.dryrun.scenario import Scenario
from devkit.dryrun.scoring import score
from devkit.errors import DryRunError
from kernelkit.recipe import Recipe

__all__ = ["check_variants", "submissions_of"]


def submissions_of(scenario: Scenario) -> dict[str, Path]:
    """The file of each variant that the recipe names, first the one that is submitted by itself."""
    names = Recipe.load(scenario.recipe).submissions
    return {name: scenario.submissions / f"{name}.csv" for name in names}


def check_variants(scenario: Scenario) -> pd.DataFrame:
    """Check each file, and that all are there and differ. One row per variant, with its Dice.

    The Dice is the mean over all rows, and 1 for a row that is rightly empty.

    Raises
    ------
    DryRunError
        A file is missing or not wanted, or two are the same.
    SubmissionError
        Anything that the competition would refuse.
    """
    files = submissions_of(scenario)
    _refuse_others(scenario, files)
    rows = []
    for name, path in files.items():
        masks = read_checked(scenario, path)
        row = {
            "submission": name,
            "rows": len(masks),
            "empty": sum(mask.area == 0 for mask in masks.values()),
        }
        if scenario.solution:
            row["Dice"] = f"{fmean(score(masks, scenario.solution).values()):.4f}"
        rows.append(row)
    return pd.DataFrame(rows)


def _refuse_others(scenario: Scenario, files: dict[str, Path]) -> None:
    """Refuse files that are not those of the recipe, and variants that do not vary."""
    wanted = {path.name for path in files.values()}
    found = {path.name for path in scenario.submissions.iterdir()}
    if wanted != found:
        raise DryRunError(
            f"{scenario.submissions}: found {', '.join(sorted(found))}, wanted "
            f"{', '.join(sorted(wanted))}. Run the dry-run again"
        )
    contents = {name: path.read_bytes() for name, path in files.items()}
    for one, other in combinations(contents, 2):
        if contents[one] == contents[other]:
            raise DryRunError(
                f"{scenario.submissions}: {one} and {other} are the same, byte for byte. "
                "Correct the recipe's 'submissions', or leave one out"
            )
    first = next(iter(files))
    if scenario.submission.read_bytes() != contents[first]:
        raise DryRunError(
            f"{scenario.submission}: it is not {first}, the first of the recipe's submissions. "
            "Run the dry-run again"
        )
