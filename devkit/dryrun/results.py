"""What a run of the notebook came to: its submission checked and scored, as a table for people."""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from devkit.dryrun.scenario import Scenario
from devkit.dryrun.scoring import score
from kernelkit.competition import CompetitionFolder, read_submission
from kernelkit.mask import BitMask
from kernelkit.predict.pictures import overlay
from kernelkit.predict.report import Report
from kernelkit.recipe import Recipe
from kernelkit.slide import Slide

__all__ = ["draw_overlay", "read_checked", "results_table"]


def read_checked(scenario: Scenario) -> dict[str, BitMask]:
    """The masks of a submission, checked as the competition would, from the files alone.

    Raises
    ------
    SubmissionError
        Anything that the competition would refuse.
    """
    competition = Recipe.load(scenario.recipe).competition
    test_set = CompetitionFolder.read(scenario.competition, competition)
    sizes = {image_id: _size(path) for image_id, path in test_set.files.items()}
    return dict(read_submission(scenario.submission, test_set.ids, sizes, competition))


def results_table(
    report: Report, masks: dict[str, BitMask], solution: Path | None = None
) -> pd.DataFrame:
    """One row per image: layout, size, seconds, speed, and Dice if its label is known.

    Parameters
    ----------
    report
        The run's own report.
    masks
        The submitted masks by id.
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
    return pd.DataFrame(rows)


def draw_overlay(scenario: Scenario, masks: dict[str, BitMask]) -> Path:
    """Draw the largest mask over its image, and return the PNG file."""
    competition = Recipe.load(scenario.recipe).competition
    test_set = CompetitionFolder.read(scenario.competition, competition)
    image_id = max(masks, key=lambda name: masks[name].height * masks[name].width)
    path = scenario.working / "overlay.png"
    with Slide(test_set.files[image_id]) as slide:
        plt.imsave(path, overlay(slide, masks[image_id], max_side=1400))
    return path


def _size(path: Path) -> tuple[int, int]:
    with Slide(path) as slide:
        return slide.height, slide.width
