"""The score of a submission: Dice of each image against labels that the notebook never saw."""

import csv
from collections.abc import Mapping
from pathlib import Path

from kernelkit.errors import CompetitionError
from kernelkit.mask import BitMask

__all__ = ["score"]


def score(masks: Mapping[str, BitMask], solution: Path) -> dict[str, float]:
    """Dice of each predicted mask against the label of its id in `solution`.

    Parameters
    ----------
    masks
        The predicted masks by id.
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
    unknown = sorted(set(masks) - set(labels))
    if unknown:
        raise CompetitionError(
            f"{solution}: there is no label of {unknown[0]!r}. Add a row for each test image"
        )
    return {
        image_id: mask.dice(BitMask.from_rle(labels[image_id], mask.shape))
        for image_id, mask in masks.items()
    }
