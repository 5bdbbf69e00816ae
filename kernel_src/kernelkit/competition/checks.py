"""A submission read as the competition will read it, and refused where it would be refused."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from pathlib import Path

from kernelkit.competition.columns import ConstantColumns
from kernelkit.competition.fields import Part, masks_of, read_fields
from kernelkit.competition.tables import submission_rows
from kernelkit.errors import MaskError, SubmissionError
from kernelkit.mask import BitMask
from kernelkit.recipe import Competition

__all__ = ["check_rows", "check_submission", "read_submission"]

# More rows of one id are no components. A compressed file may have them without an end.
_MOST_INSTANCES = 1_000_000


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
        Height and width of each id's image. They count if the recipe says no size of masks. Without
        either, an encoding is checked, except that its runs may end anywhere.
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
        The file is not a table, or has wrong columns. Or an id is missing, repeated or misplaced.
        Or an RLE is malformed, leaves its image, or gives a pixel to two instances.
    """
    number = len(competition.labels) if competition.shares_fields else 1
    for row_id, parts in _parts(path, ids, sizes, competition, header):
        if row_id in sizes:
            shape = competition.size or sizes[row_id]
            for mask in masks_of(parts, competition.rle, number, shape):
                yield row_id, mask


def check_submission(
    path: str | Path,
    ids: Iterable[str] | None,
    sizes: Mapping[str, tuple[int, int]],
    competition: Competition,
    header: Sequence[str] | None = None,
) -> None:
    """Refuse what the competition would refuse. One row at a time is in memory, as runs.

    Parameters
    ----------
    path
        The CSV file, its archive, or a Parquet file.
    ids
        The ids it must have, in this order. None means its own, each of them once.
    sizes
        Height and width of each id's image, as for `read_submission`.
    competition
        The columns and the RLE convention.
    header
        The columns in the sample's order. None means the recipe's order.

    Raises
    ------
    SubmissionError
        As `read_submission`.
    """
    for _ in _parts(path, ids, sizes, competition, header):
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


def _parts(
    path: str | Path,
    ids: Iterable[str] | None,
    sizes: Mapping[str, tuple[int, int]],
    competition: Competition,
    header: Sequence[str] | None,
) -> Iterator[tuple[str, list[Part]]]:
    """The id of each row, or of each group of rows, and the parts in it."""
    rle = competition.rle
    header = list(header or competition.header)
    at_id, at_rle = header.index(competition.id_column), header.index(competition.rle_column)
    several = rle.instances == "rows"
    rows = check_rows(path, header, ids, id_column=competition.id_column, several=several)
    constants = ConstantColumns(competition)
    for row_id, lines in _by_id(rows, at_id, several):
        shape = competition.size or sizes.get(row_id)
        try:
            size = None if shape is None else shape[0] * shape[1]
            fields = [line[at_rle] for line in lines]
            parts = read_fields(fields, rle, len(competition.labels), size)
            for line in lines:
                # a fallback row need not know the size of its image
                texts = dict(zip(header, line, strict=True))
                constants.refuse_others(texts, shape if parts else None)
            yield row_id, parts
        except MaskError as error:
            raise SubmissionError(f"{path}: the row of {row_id}: {error}") from error


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
