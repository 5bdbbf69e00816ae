"""The score of a submission: Dice of each image against labels that the notebook never saw."""

import csv
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean

from kernelkit.competition import Row
from kernelkit.errors import CompetitionError
from kernelkit.mask import BitMask

__all__ = ["score"]


def score(masks: Mapping[Row, BitMask], solution: Path) -> dict[str, float]:
    """Dice of each image against its labels in `solution`: the mean over its rows.

    Parameters
    ----------
    masks
        The predicted mask of each row.
    solution
        CSV file of `id,encoding`, column-major RLE from 1, as HuBMAP's `train.csv`.

    Raises
    ------
    CompetitionError
        If an id has no label.
    """
    limit = csv.field_size_limit(2**31 - 1)
    try:
        with solution.open(newline="", encoding="utf-8") as file:
            labels = {row["id"]: row["encoding"] for row in csv.DictReader(file)}
    finally:
        csv.field_size_limit(limit)
    unknown = sorted({row.id for row in masks} - set(labels))
    if unknown:
        raise CompetitionError(
            f"{solution}: there is no label of {unknown[0]!r}. Add a row for each test image"
        )
    scores: dict[str, list[float]] = defaultdict(list)
    for row, mask in masks.items():
        scores[row.image].append(mask.dice(BitMask.from_rle(labels[row.id], mask.shape)))
    return {image: fmean(dice) for image, dice in scores.items()}
