"""Hand in, the second half of a run: what stores hold becomes the rows of submissions.

It reads nothing but stores and reports. It takes seconds, and can be done again. All submissions of
a recipe are made in one pass, so each image is read and merged once.
"""

import logging
import os
import shutil
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from kernelkit.competition import CompetitionFolder, Row, Submission, check_submission
from kernelkit.errors import as_sentence
from kernelkit.files import replace_atomically
from kernelkit.predict.hand_in.finished_masks import FinishedMasks
from kernelkit.predict.hand_in.stored_image import StoredImage
from kernelkit.predict.hand_in.variants import Way
from kernelkit.predict.report import ImageReport, Report
from kernelkit.predict.warned import ImageWarnings
from kernelkit.recipe import Recipe

__all__ = ["hand_in", "submission_paths"]

_log = logging.getLogger(__name__)

# Images of more pixels are finished one after the other, by threads of their own.
_LARGE = 1 << 24
# Masks of fewer pixels are written sooner than a thread takes them.
_SMALL = 1 << 16


def submission_paths(recipe: Recipe, path: Path) -> list[Path]:
    """The file of each further submission of a recipe, beside that of the first at `path`."""
    folder = path.parent / "submissions"
    return [folder / f"{name}{path.suffix}" for name in recipe.submissions]


def hand_in(
    report: Report,
    competition: CompetitionFolder,
    recipe: Recipe,
    masks: FinishedMasks,
    path: Path,
) -> None:
    """Write all submissions: one row per id each, checked as the competition will check it.

    The first is `path`. With `submissions` in the recipe, each is a file of the folder
    `submissions` beside it too. An image without a mask keeps the fallback row. What lay there
    stays until all new files are proved. `report` takes the area of each mask of the first
    submission, and what went otherwise.

    Raises
    ------
    SubmissionError
        A file cannot be written, or the competition would refuse it.
    """
    rows: dict[str, list[Row]] = defaultdict(list)
    for row in competition.rows:
        rows[row.image].append(row)
    handed = _HandedIn(recipe, competition, masks, rows)
    images = [image for image in report.images if not image.is_fallback]
    # steps of the user's own may not be made for threads
    workers = 1 if recipe.steps else os.cpu_count() or 1
    has_steps = any(way.steps for ways in masks.ways.values() for way in ways.values())
    least = 0 if has_steps else _SMALL
    for _ in _in_order(handed.take, images, workers, least):
        pass
    handed.warnings.close()
    handed.write(path)


class _HandedIn:
    """The rows of all submissions, while images come in."""

    def __init__(
        self,
        recipe: Recipe,
        competition: CompetitionFolder,
        masks: FinishedMasks,
        rows: dict[str, list[Row]],
    ) -> None:
        self._recipe, self._competition, self._masks, self._rows = recipe, competition, masks, rows
        self._submissions = {
            name: Submission(competition.rows, recipe.competition, competition.sample)
            for name in masks.ways
        }
        self._sizes: dict[str, tuple[int, int]] = {}
        self.warnings = ImageWarnings(_log)

    def take(self, image: ImageReport) -> None:
        """Make the rows of one image. What fails costs no other image its row."""
        try:
            stored = self._masks.stored(image.image)
        except Exception as error:
            self._give_up(image, error)
            return
        image.notes += stored.notes
        for row in self._rows[image.image]:
            self._sizes[row.id] = stored.size
        for place, (name, ways) in enumerate(self._masks.ways.items()):
            try:
                area = self._set_rows(image, stored, ways[image.ensemble], name)
            except Exception as error:
                if place == 0:
                    self._give_up(image, error)
                else:
                    what, reason = f"fallback row in {name}", as_sentence(error)
                    image.notes.append(f"{what}, because: {reason}")
                    self.warnings.warn(image.image, what, reason)
            else:
                if place == 0:
                    image.area = area

    def _give_up(self, image: ImageReport, error: Exception) -> None:
        image.fall_back(as_sentence(error))
        self.warnings.warn(image.image, "fallback row", as_sentence(error))

    def write(self, path: Path) -> None:
        """Write and check all files, and only then let them take their places."""
        others = submission_paths(self._recipe, path)
        with ExitStack() as stack:
            # the last to come takes its place first, so submission.csv is new once all are
            targets = [stack.enter_context(replace_atomically(each)) for each in (path, *others)]
            for submission, target in zip(
                self._submissions.values(), targets[1:] or targets, strict=True
            ):
                submission.write(target)
                check_submission(
                    target,
                    self._competition.ids,
                    self._sizes,
                    self._recipe.competition,
                    submission.header,
                )
            if others:
                shutil.copyfile(targets[1], targets[0])
        for stale in set(path.parent.glob(f"submissions/*{path.suffix}")) - set(others):
            stale.unlink()

    def _set_rows(self, image: ImageReport, stored: StoredImage, way: Way, name: str) -> int:
        """Set the rows of an image in one submission. Return how many pixels are on."""
        convention, submission = self._recipe.competition, self._submissions[name]
        found = dict(zip(convention.labels, stored.masks(way), strict=True))
        # only a confidence is made of probabilities
        has_confidence = convention.rle.form == "coco" and stored.has_probabilities
        rows = self._rows[image.image]
        try:
            for row in rows:
                probabilities = (
                    stored.probabilities(way, row.label)
                    if has_confidence and not way.is_gate
                    else None
                )
                submission.set(row, found[row.label], probabilities)
        except Exception:
            for row in rows:  # all rows of an image are its own, or none is
                submission.unset(row)
            raise
        return sum(mask.area for mask in found.values())


def _in_order(
    do: Callable[[ImageReport], None], images: Iterable[ImageReport], workers: int, least: int
) -> Iterator[None]:
    """Do something with each image, in threads if it is not large. Few are begun ahead.

    Images of fewer than `least` pixels are not worth a thread.
    """
    waiting: deque[Future[None]] = deque()
    with ThreadPoolExecutor(workers) as threads:
        for image in images:
            pixels = image.height * image.width
            if pixels > _LARGE or pixels < least or workers == 1:
                while waiting:
                    yield waiting.popleft().result()
                do(image)
                continue
            waiting.append(threads.submit(do, image))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
