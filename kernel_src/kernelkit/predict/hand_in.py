"""Hand in, the second half of a run: what the store holds becomes the rows of a submission.

It reads nothing but the store and the reports. It takes seconds, and can be done again.
"""

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from kernelkit.competition import CompetitionFolder, Row, Submission, check_submission
from kernelkit.errors import SubmissionError, as_sentence
from kernelkit.files import replace_atomically
from kernelkit.mask import BitMask, resize
from kernelkit.predict.own_steps import known_steps
from kernelkit.predict.postprocess import apply_steps
from kernelkit.predict.report import Report
from kernelkit.predict.store import Store
from kernelkit.recipe import Recipe

__all__ = ["FinishedMasks", "hand_in"]

_log = logging.getLogger(__name__)


class FinishedMasks(Mapping[str, list[BitMask]]):
    """The masks that are submitted, one per class, by image id.

    They come from the store, and are postprocessed when they are asked for.
    """

    def __init__(self, report: Report, recipe: Recipe, store: Store) -> None:
        self._images = {image.image: image for image in report.images if not image.is_fallback}
        self._steps = {ensemble.name: ensemble.postprocess for ensemble in recipe.ensembles}
        self._labels = recipe.competition.labels
        self._size = recipe.competition.size
        self._known = known_steps(recipe.steps)
        self._store = store

    def __getitem__(self, image_id: str) -> list[BitMask]:
        image = self._images[image_id]
        stored = self._store.entry_named(image.stored).load()
        if stored is None or stored.masks is None:
            raise SubmissionError(
                f"{self._store.folder / image.stored}: the stored masks are gone or damaged. "
                "Run the notebook again"
            )
        steps = self._steps[image.ensemble]
        size = self._size or (image.height, image.width)
        return [
            apply_steps(resize(stored.masks[label], size), steps, label, known=self._known)
            for label in self._labels
        ]

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
    submission = Submission(competition.rows, recipe.competition, competition.sample)
    masks = FinishedMasks(report, recipe, store)
    rows: dict[str, list[Row]] = defaultdict(list)
    for row in competition.rows:
        rows[row.image].append(row)
    sizes: dict[str, tuple[int, int]] = {}
    for image in report.images:
        if not image.is_fallback:
            try:
                found = dict(zip(recipe.competition.labels, masks[image.image], strict=True))
                for row in rows[image.image]:
                    submission.set(row, found[row.label])
                    sizes[row.id] = recipe.competition.size or (image.height, image.width)
                image.area = sum(mask.area for mask in found.values())
            except Exception as error:  # whatever it was, it may cost no other image its row
                image.fall_back(as_sentence(error))
                _log.warning("%s: fallback row, because: %s", image.image, as_sentence(error))
    with replace_atomically(path) as unproved:
        submission.write(unproved)
        check_submission(unproved, competition.ids, sizes, recipe.competition, submission.header)
