"""The submission: the rows of each id, in the sample's order, written in one piece.

An image that could not be predicted keeps a stated fallback row. So the file is always valid: a
competition refuses a submission that lacks an id.
"""

from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kernelkit.competition.columns import ConstantColumns
from kernelkit.competition.fields import fields_of, write_parts
from kernelkit.competition.rows import Row
from kernelkit.competition.sample import Sample
from kernelkit.competition.tables import is_parquet, write_csv, write_parquet
from kernelkit.errors import OutputError, SubmissionError
from kernelkit.mask import BitMask
from kernelkit.recipe import Competition

__all__ = ["Submission"]


class Submission:
    """The rows of a submission. Each is the fallback row until it is set.

    Parameters
    ----------
    rows
        All rows that the competition wants, in its order.
    competition
        The columns and the RLE convention.
    sample
        The sample submission, if there is one. The columns come in its order. What the size of an
        unknown image leaves open comes from it too.
    """

    def __init__(
        self, rows: Iterable[Row], competition: Competition, sample: Sample | None = None
    ) -> None:
        self.competition = competition
        self.sample = sample
        self.parts: dict[Row, list[str]] = {row: [] for row in rows}
        self._sizes: dict[str, tuple[int, int]] = {}

    @property
    def header(self) -> tuple[str, ...]:
        """The columns, in the order of the sample."""
        return self.sample.header if self.sample else self.competition.header

    def set(
        self,
        row: Row,
        mask: BitMask,
        probabilities: NDArray[np.uint8 | np.float32] | None = None,
    ) -> None:
        """Encode the mask of one row.

        Parameters
        ----------
        row
            One of those that the submission was made with.
        mask
            Of the competition's size, if the recipe says one.
        probabilities
            uint8 or float32 (height, width) of the row's class, for the confidence of each part.
            Without them, it is the recipe's.
        """
        if row not in self.parts:
            raise SubmissionError(
                f"{row.id}: the sample submission has no such id, so it can have no row"
            )
        wanted = self.competition.size or mask.shape
        if mask.shape != wanted:
            raise SubmissionError(
                f"{row.id}: its mask has {mask.height} x {mask.width} pixels, wanted "
                f"{wanted[0]} x {wanted[1]} as the recipe's size. Resize it first"
            )
        number = self.competition.labels.index(row.label)
        self.parts[row] = write_parts(mask, self.competition.rle, number, probabilities)
        self._sizes[row.id] = mask.shape

    def unset(self, row: Row) -> None:
        """Make a row the fallback row again."""
        self.parts[row] = []
        self._sizes.pop(row.id, None)

    def write(self, path: str | Path) -> Path:
        """Write the file: Parquet if its suffix says so, else CSV.

        What was there stays until the new file is complete.

        Raises
        ------
        OutputError
            The folder cannot be written to.
        SubmissionError
            A column of the sample cannot hold what the recipe writes into it.
        """
        path = Path(path)
        try:
            if is_parquet(path):
                like = self.sample.path if self.sample and is_parquet(self.sample.path) else None
                write_parquet(path, self.header, self._lines(), like)
            else:
                write_csv(path, self.header, self._lines())
        except OSError as error:
            raise OutputError(
                f"{path}: the submission cannot be written ({error.strerror}). Choose an output "
                "folder that can be written to"
            ) from error
        return path

    def _lines(self) -> Iterator[list[str]]:
        """The fields of each line below the header."""
        constants = ConstantColumns(self.competition, self.sample)
        for row_id, rows in groupby(self.parts, key=lambda row: row.id):
            first, *others = rows
            parts = [part for row in (first, *others) for part in self.parts[row]]
            values = constants.of(first, self._sizes.get(row_id) or self.competition.size)
            values[self.competition.id_column] = row_id
            for field in fields_of(parts, self.competition.rle):
                values[self.competition.rle_column] = field
                yield [values[name] for name in self.header]
