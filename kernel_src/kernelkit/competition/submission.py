"""The submission: the rows of each id, in the sample's order, checked and written in one piece.

An image that could not be predicted keeps a stated fallback row. So the file is always valid: a
competition refuses a submission that lacks an id.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kernelkit.competition.columns import ConstantColumns
from kernelkit.competition.fields import fields_of, masks_of, read_fields, write_parts
from kernelkit.competition.rows import Row
from kernelkit.competition.sample import Sample
from kernelkit.competition.tables import is_parquet, submission_rows, write_csv, write_parquet
from kernelkit.errors import MaskError, OutputError, SubmissionError
from kernelkit.mask import BitMask
from kernelkit.recipe import Competition

__all__ = ["Submission", "check_rows", "check_submission", "read_submission"]

# More rows of one id are no components. A compressed file may have them without an end.
_MOST_INSTANCES = 1_000_000


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


def read_submission(
    path: str | Path,
    ids: Iterable[str] | None,
    sizes: Mapping[str, tuple[int, int]],
    competition: Competition,
    header: Sequence[str] | None = None,
) -> Iterator[tuple[str, BitMask]]:
    """Read a submission as the competition will, and refuse what it would refuse.

    Parameters
    ----------
    path
        The CSV file, its archive, or a Parquet file. `submission_rows` says which.
    ids
        The ids it must have, in this order. None means its own, each of them once.
    sizes
        Height and width of the submitted mask of each id. The encoding of an id without one is
        checked, except that its runs may end anywhere.
    competition
        The columns and the RLE convention.
    header
        The columns in the sample's order. None means the recipe's order.

    Yields
    ------
    Each id in `sizes`, and its decoded mask. An id whose row holds several classes comes once per
    class.

    Raises
    ------
    SubmissionError
        The file is not a table. Or it has wrong columns, a missing, repeated or misplaced id, or an
        RLE that is malformed, leaves its image, or gives a pixel to two instances.
    """
    rle = competition.rle
    header = list(header or competition.header)
    rows = check_rows(
        path, header, ids, id_column=competition.id_column, several=rle.instances == "rows"
    )
    at_rle = header.index(competition.rle_column)
    constants = ConstantColumns(competition)
    for row_id, lines in _by_id(rows, header.index(competition.id_column), rle.instances == "rows"):
        shape = sizes.get(row_id)
        try:
            for line in lines:
                constants.refuse_others(dict(zip(header, line, strict=True)), shape)
            masks = _masks([line[at_rle] for line in lines], competition, shape)
        except MaskError as error:
            raise SubmissionError(f"{path}: the row of {row_id}: {error}") from error
        for mask in masks:
            yield row_id, mask


def check_submission(
    path: str | Path,
    ids: Iterable[str] | None,
    sizes: Mapping[str, tuple[int, int]],
    competition: Competition,
    header: Sequence[str] | None = None,
) -> None:
    """Refuse what the competition would refuse. The arguments are those of `read_submission`.

    One mask at a time is in memory.
    """
    for _ in read_submission(path, ids, sizes, competition, header):
        pass


def check_rows(
    path: str | Path,
    columns: Sequence[str],
    ids: Iterable[str] | None,
    *,
    id_column: str | None = None,
    several: bool = False,
) -> Iterator[list[str]]:
    """Iterate over the rows of a submission, and refuse columns and ids that are not wanted.

    Parameters
    ----------
    path
        The table, as for `read_submission`.
    columns
        The columns it must have.
    ids
        The ids it must have, as for `read_submission`.
    id_column
        The column of the ids. None is the first.
    several
        Whether an id may have several rows, one after the other.

    Raises
    ------
    SubmissionError
        As by `check_submission`. An id that is wrong may be found after the last row only.
    """
    wanted = None if ids is None else list(ids)
    found: list[str] = []
    rows = submission_rows(path)
    header = next(rows, [])
    if header != list(columns):
        raise SubmissionError(
            f"{path}: it is empty. Wanted the columns {', '.join(columns)}"
            if not header
            else f"{path}: the columns are {_shown(header)}, wanted {list(columns)}"
        )
    at_id = 0 if id_column is None else list(columns).index(id_column)
    for number, row in enumerate(rows, start=2):
        if len(row) != len(columns):
            raise SubmissionError(
                f"{path}: line {number} has {len(row)} fields, wanted {len(columns)}"
            )
        if not (several and found and row[at_id] == found[-1]):
            found.append(row[at_id])
        if wanted is not None and len(found) > len(wanted):
            break  # one of them is too many, and a file may have no end
        yield row
    if problem := _first_difference(found, wanted):
        raise SubmissionError(f"{path}: {problem}")


def _by_id(
    rows: Iterable[list[str]], at_id: int, several: bool
) -> Iterator[tuple[str, list[list[str]]]]:
    """The lines of each id. Without `several`, each line stands alone."""
    if not several:
        yield from ((row[at_id], [row]) for row in rows)
        return
    for row_id, some in groupby(rows, key=lambda row: row[at_id]):
        lines = list(islice(some, _MOST_INSTANCES + 1))
        if len(lines) > _MOST_INSTANCES:
            raise SubmissionError(
                f"{row_id}: it has more than {_MOST_INSTANCES} rows. Remove small components"
            )
        yield row_id, lines


def _masks(
    fields: Sequence[str], competition: Competition, shape: tuple[int, int] | None
) -> list[BitMask]:
    """The masks in an id's fields, one per class. If no size is known, they are checked only."""
    classes = len(competition.labels)
    size = None if shape is None else shape[0] * shape[1]
    parts = read_fields(fields, competition.rle, classes, size)
    if shape is None:
        return []
    return masks_of(parts, competition.rle, classes if competition.shares_fields else 1, shape)


def _first_difference(found: list[str], wanted: list[str] | None) -> str:
    """What is wrong with the ids. Empty if nothing is."""
    if found == wanted:
        return ""
    repeated = [image_id for image_id, count in Counter(found).items() if count > 1]
    if repeated:
        return f"the id {repeated[0]!r} has more than one row"
    if wanted is None:
        return "" if found else "it has no row. Wanted one row per id"
    missing = sorted(set(wanted) - set(found))
    unknown = sorted(set(found) - set(wanted))
    if missing:
        return f"{len(missing)} of {len(wanted)} ids have no row, the first is {missing[0]!r}"
    if unknown:
        return f"the id {unknown[0]!r} is not in the sample submission"
    return "the rows are not in the order of the sample submission"


def _shown(header: list[str], longest: int = 200) -> str:
    text = str(header)
    return text if len(text) <= longest else f"{text[:longest]}..."
