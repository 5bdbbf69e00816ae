"""Hand in, the second half of a run: what the store holds becomes the rows of a submission.

It reads nothing but the store and the reports. It takes seconds, and can be done again.
"""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

from kernelkit.competition import CompetitionFolder, Submission, check_submission
from kernelkit.errors import SubmissionError, as_sentence
from kernelkit.files import replace_atomically
from kernelkit.mask import BitMask
from kernelkit.predict.postprocess import apply_steps
from kernelkit.predict.report import ImageReport, Report
from kernelkit.predict.store import Store
from kernelkit.recipe import Recipe

__all__ = ["FinishedMasks", "hand_in"]

_log = logging.getLogger(__name__)


class FinishedMasks(Mapping[str, BitMask]):
    """The masks that are submitted, by image id: from the store, postprocessed when asked for."""

    def __init__(self, report: Report, recipe: Recipe, store: Store) -> None:
        self._images = {image.image: image for image in report.images if not image.is_fallback}
        self._steps = {ensemble.name: ensemble.postprocess for ensemble in recipe.ensembles}
        self._store = store

    def __getitem__(self, image_id: str) -> BitMask:
        image = self._images[image_id]
        stored = self._store.entry_named(image.stored).load()
        if stored is None:
            raise SubmissionError(
                f"{self._store.folder / image.stored}: the stored mask is gone or damaged. "
                "Run the notebook again"
            )
        return apply_steps(stored.mask, self._steps[image.ensemble])

    def __iter__(self) -> Iterator[str]:
        return iter(self._images)

    def __len__(self) -> int:
        return len(self._images)


def hand_in(
    report: Report, competition: CompetitionFolder, recipe: Recipe, store: Store, path: Path
) -> None:
    """Write the submission `path`: one row per id, checked as the competition will check it.

    An image without a mask keeps the fallback row. What lay at `path` stays until the new file is
    proved. `report` takes the area of each mask, and what went otherwise.

    Raises
    ------
    SubmissionError
        The file cannot be written, or the competition would refuse it.
    """
    submission = Submission(competition.ids, recipe.competition)
    masks = FinishedMasks(report, recipe, store)
    sizes = {}
    for image in report.images:
        if not image.is_fallback:
            try:
                _set_row(submission, image, masks[image.image])
                sizes[image.image] = image.height, image.width
            except Exception as error:  # whatever it was, it may cost no other image its row
                image.fall_back(as_sentence(error))
                _log.warning("%s: fallback row, because: %s", image.image, as_sentence(error))
    with replace_atomically(path) as unproved:
        submission.write(unproved)
        check_submission(unproved, competition.ids, sizes, recipe.competition)


def _set_row(submission: Submission, image: ImageReport, mask: BitMask) -> None:
    submission.set(image.image, mask)
    image.area = mask.area
