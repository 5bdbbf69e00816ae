"""Work, the first half of a run: each image becomes an entry of the store, and a report.

What becomes of an image depends on its file, the recipe and the weights alone. Whatever fails costs
only its own image.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing

from kernelkit.predict.report import ImageReport
from kernelkit.predict.warned import ImageWarnings
from kernelkit.predict.work.tasks import Run, Task
from kernelkit.predict.work.tiled import predict_tiled
from kernelkit.predict.work.whole import predict_whole

__all__ = ["predict_tasks", "warned", "work"]

_log = logging.getLogger(__name__)


def work(tasks: Sequence[Task], run: Run) -> Iterator[ImageReport]:
    """Put the result of each image into the store, and say what happened to it."""
    return warned(predict_tasks(tasks, run), tasks)


def predict_tasks(tasks: Iterable[Task], run: Run) -> Iterator[ImageReport]:
    """Do as `work` does, and warn of nothing."""
    lane = predict_whole if run.recipe.tiles.whole else predict_tiled
    for report in lane(tasks, run):
        if report.status == "predicted":
            report.device = run.device
        yield report


def warned(reports: Iterable[ImageReport], tasks: Sequence[Task]) -> Iterator[ImageReport]:
    """Pass on reports. Warn of each fallback, unless the image was left out on purpose."""
    meant = {task.image_id for task in tasks if task.left_out}
    with closing(ImageWarnings(_log)) as warnings:
        for report in reports:
            if report.is_fallback and report.image not in meant:
                warnings.warn(report.image, "fallback row", report.notes[-1])
            yield report
