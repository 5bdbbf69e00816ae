"""What a run of the notebook came to: its submission checked and scored, as a table for people."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from devkit.dryrun.scenario import Scenario
from devkit.dryrun.scoring import score
from kernelkit.competition import CompetitionFolder, Row, read_submission
from kernelkit.mask import BitMask
from kernelkit.predict.pictures import overlay
from kernelkit.predict.report import Report
from kernelkit.recipe import Recipe
from kernelkit.slide import Slide

__all__ = ["draw_overlay", "read_checked", "results_table"]

# Of more images the table shows the worst.
_MOST_ROWS = 20


def read_checked(scenario: Scenario, submission: Path | None = None) -> dict[Row, BitMask]:
    """The mask of each row of a submission, checked as the competition would, from the files alone.

    Parameters
    ----------
    submission
        The file, or None for the one that is submitted.

    Raises
    ------
    SubmissionError
        Anything that the competition would refuse.
    """
    competition = Recipe.load(scenario.recipe).competition
    test_set = CompetitionFolder.read(scenario.competition, competition)
    rows = [row for row in test_set.rows if row.image in test_set.scenes]
    size_of = {image: _size(scene.paths) for image, scene in test_set.scenes.items()}
    sizes = {row.id: competition.size or size_of[row.image] for row in rows}
    header = test_set.sample.header if test_set.sample else None
    masks = read_submission(
        submission or scenario.submission, test_set.ids, sizes, competition, header
    )
    return {row: mask for row, (_, mask) in zip(rows, masks, strict=True)}


def results_table(
    report: Report, masks: dict[Row, BitMask], solution: Path | None = None
) -> pd.DataFrame:
    """One row per image: layout, size, seconds, speed, and Dice if its labels are known.

    Of several classes the mean Dice is told. Of many images only the worst are shown.

    Parameters
    ----------
    report
        The run's own report.
    masks
        The submitted mask of each row.
    solution
        Held-out labels, or None if there are none.
    """
    dice = score(masks, solution) if solution else {}
    rows = []
    for image in report.images:
        seconds = image.seconds
        row = {
            "image": image.image,
            "layout": image.layout,
            "size": f"{image.height} x {image.width}",
            "seconds": f"{seconds:.2f}",
            "Mpx/s": f"{image.megapixels / seconds:.2f}" if seconds else "",
            "waiting": f"{image.waited / seconds:.0%}" if seconds else "",
            "Dice": f"{dice[image.image]:.3f}" if image.image in dice else "",
            "status": image.status,
        }
        if not dice:
            del row["Dice"]
        rows.append(row)
    table = pd.DataFrame(rows)
    if len(table) <= _MOST_ROWS:
        return table
    worst_first = ["status", "Dice"] if dice else ["status"]
    return table.sort_values(worst_first, kind="stable", key=_rank).head(_MOST_ROWS)


def draw_overlay(scenario: Scenario, masks: dict[Row, BitMask]) -> Path:
    """Draw the masks of the largest image over it, and return the PNG file."""
    competition = Recipe.load(scenario.recipe).competition
    test_set = CompetitionFolder.read(scenario.competition, competition)
    largest = max(masks, key=lambda row: masks[row].height * masks[row].width).image
    chosen = [mask for row, mask in masks.items() if row.image == largest]
    path = scenario.working / "overlay.png"
    with Slide(test_set.scenes[largest].paths) as slide:
        plt.imsave(path, overlay(slide, chosen, 1400, competition.size))
    return path


def _rank(column: pd.Series) -> pd.Series:
    """What could not be predicted before all else."""
    return column != "fallback" if column.name == "status" else column


def _size(paths: Sequence[Path]) -> tuple[int, int]:
    with Slide(paths) as slide:
        return slide.height, slide.width
