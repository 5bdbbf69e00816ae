"""The score of a submission: Dice of each image against labels that the notebook never saw."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean

from kernelkit.competition import Row, check_rows
from kernelkit.errors import CompetitionError, MaskError
from kernelkit.mask import BitMask

__all__ = ["score"]


def score(
    masks: Mapping[Row, BitMask], solution: Path, missing: BitMask | None = None
) -> dict[str, float]:
    """Dice of each image against its labels in `solution`: the mean over its rows.

    Parameters
    ----------
    masks
        The predicted mask of each row.
    solution
        CSV file of `id,encoding`, column-major RLE from 1, as HuBMAP's `train.csv`.
    missing
        Pixels without data, which are not judged.

    Raises
    ------
    CompetitionError
        If an id has no label, or one that does not fit its mask.
    SubmissionError
        If the file is no table of labels.
    """
    if not solution.is_file():
        raise CompetitionError(f"{solution}: there is no such file of labels. Make it again")
    labels = {row[0]: row[1] for row in check_rows(solution, ["id", "encoding"], None)}
    unknown = sorted({row.id for row in masks} - set(labels))
    if unknown:
        raise CompetitionError(
            f"{solution}: there is no label of {unknown[0]!r}. Add a row for each test image"
        )
    scores: dict[str, list[float]] = defaultdict(list)
    for row, mask in masks.items():
        label = _label(solution, row.id, labels[row.id], mask.shape)
        if missing is not None:
            mask, label = mask & ~missing, label & ~missing
        scores[row.image].append(mask.dice(label))
    return {image: fmean(dice) for image, dice in scores.items()}


def _label(solution: Path, row_id: str, encoding: str, shape: tuple[int, int]) -> BitMask:
    try:
        return BitMask.from_rle(encoding, shape)
    except MaskError as error:
        raise CompetitionError(f"{solution}: the label of {row_id!r}: {error}") from error
