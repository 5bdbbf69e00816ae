"""The table that HuBMAP's second place chose by: each image's best threshold beside the common one.

name, best threshold, score, common threshold, score, and a row AVE with the means.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kernelkit.evaluation.search.table import Areas, SweepTable, score_of
from kernelkit.files import open_atomically
from kernelkit.vocabulary import Score

__all__ = ["total_table", "write_total"]

_COLUMNS = ("name", "best threshold", "best score", "common threshold", "common score")
_MEANS = "AVE"


def total_table(
    table: SweepTable, places: NDArray[np.int64], score: Score = "dice"
) -> pd.DataFrame:
    """The table, one row per image, or per image and class if there are several.

    Parameters
    ----------
    places
        The chosen place per image and class, int64 (images, classes, 2). The best threshold of an
        image is looked for at its chosen size.
    score
        "set" counts as "dice", since there is one image per row.
    """
    rows = []
    for row, image in enumerate(table.images):
        for label, name in enumerate(table.classes):
            threshold, size = places[row, label]
            scores = score_of(
                Areas(
                    table.found[row, label, None, :, size],
                    table.both[row, label, None, :, size],
                    table.truth[row, label, None, None],
                ),
                "dice" if score == "set" else score,
            )
            best = _middle(np.flatnonzero(scores >= scores.max() - 1e-12))
            rows.append(
                (
                    f"{image} {name}" if len(table.classes) > 1 else image,
                    table.space.thresholds[best],
                    scores[best],
                    table.space.thresholds[threshold],
                    scores[threshold],
                )
            )
    means = (float(np.mean(column)) for column in list(zip(*rows, strict=True))[1:])
    return pd.DataFrame([*rows, (_MEANS, *means)], columns=list(_COLUMNS))


def write_total(table: pd.DataFrame, path: Path) -> None:
    """Write the table as total.csv, numbers with four digits."""
    with open_atomically(path) as file:
        table.to_csv(file, index=False, float_format="%.4f", lineterminator="\n")


def _middle(places: Sequence[int] | NDArray[np.int64]) -> int:
    return int(places[len(places) // 2])
