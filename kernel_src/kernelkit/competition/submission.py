"""The submission: one row per id, in the sample's order, checked and written in one piece.

An image that could not be predicted keeps a stated fallback row. So the file is always valid: a
competition refuses a submission that lacks an id.
"""

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pandas as pd

from kernelkit.errors import MaskError, OutputError, SubmissionError
from kernelkit.files import open_atomically
from kernelkit.mask import BitMask
from kernelkit.recipe import Competition

__all__ = ["Submission", "check_submission", "preview", "read_submission"]


class Submission:
    """The rows of a submission. Each is the fallback row until it is set.

    Parameters
    ----------
    ids
        All ids that the competition wants, in its order.
    competition
        The columns and the RLE convention.
    """

    def __init__(self, ids: Iterable[str], competition: Competition) -> None:
        self.competition = competition
        self.rows: dict[str, str] = dict.fromkeys(ids, competition.rle.empty)

    def set(self, image_id: str, mask: BitMask) -> None:
        """Encode the mask of one image into its row."""
        if image_id not in self.rows:
            raise SubmissionError(
                f"{image_id}: the sample submission has no such id, so it can have no row"
            )
        rle = self.competition.rle
        self.rows[image_id] = mask.to_rle(order=rle.order, base=rle.base, empty=rle.empty)

    def write(self, path: str | Path) -> Path:
        """Write the CSV file. What was there stays until the new file is complete.

        Raises
        ------
        OutputError
            The folder cannot be written to.
        """
        path = Path(path)
        header = [self.competition.id_column, self.competition.rle_column]
        try:
            with open_atomically(path) as file:
                # an RLE needs no quotes, and at 200 MB per row the csv module is the slow part
                csv.writer(file, lineterminator="\n").writerow(header)
                for image_id, text in self.rows.items():
                    file.write(f"{_quoted(image_id)},{text}\n")
        except OSError as error:
            raise OutputError(
                f"{path}: the submission cannot be written ({error.strerror}). Choose an output "
                "folder that can be written to"
            ) from error
        return path


def read_submission(
    path: str | Path,
    ids: Iterable[str],
    sizes: Mapping[str, tuple[int, int]],
    competition: Competition,
) -> Iterator[tuple[str, BitMask]]:
    """Read a submission as the competition will, and refuse what it would refuse.

    Parameters
    ----------
    ids
        The ids that it must have, one row each, in this order.
    sizes
        Height and width of each image. An id without one is not decoded.
    competition
        The columns and the RLE convention.

    Yields
    ------
    Each id in `sizes`, and its decoded mask.

    Raises
    ------
    SubmissionError
        Wrong columns, a missing, repeated or misplaced id, or an RLE that leaves its image.
    """
    path = Path(path)
    rows = _read_rows(path, competition)
    wanted = list(ids)
    found = [image_id for image_id, _ in rows]
    if found != wanted:
        raise SubmissionError(f"{path}: {_first_difference(found, wanted)}")
    rle = competition.rle
    for image_id, text in rows:
        if image_id in sizes:
            try:
                yield (
                    image_id,
                    BitMask.from_rle(
                        text, sizes[image_id], order=rle.order, base=rle.base, empty=rle.empty
                    ),
                )
            except MaskError as error:
                raise SubmissionError(f"{path}: the row of {image_id}: {error}") from error


def check_submission(
    path: str | Path,
    ids: Iterable[str],
    sizes: Mapping[str, tuple[int, int]],
    competition: Competition,
) -> None:
    """Refuse what the competition would refuse. The arguments are those of `read_submission`.

    One mask at a time is in memory.
    """
    for _ in read_submission(path, ids, sizes, competition):
        pass


def preview(path: str | Path, rows: int = 20, characters: int = 60) -> pd.DataFrame:
    """The first rows of a submission for people. A long RLE is cut, and its length stated."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False, nrows=rows)
    return table.map(
        lambda text: (
            text if len(text) <= characters else f"{text[:characters]}... ({len(text)} characters)"
        )
    )


def _read_rows(path: Path, competition: Competition) -> list[tuple[str, str]]:
    if not path.is_file():
        raise SubmissionError(f"{path}: there is no such file. The notebook has not written it")
    columns = [competition.id_column, competition.rle_column]
    limit = csv.field_size_limit(2**31 - 1)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.reader(file)
            header = next(reader, [])
            if header != columns:
                raise SubmissionError(f"{path}: the columns are {header}, wanted {columns}")
            rows = list(reader)
    finally:
        csv.field_size_limit(limit)
    for number, row in enumerate(rows, start=2):
        if len(row) != len(columns):
            raise SubmissionError(
                f"{path}: line {number} has {len(row)} fields, wanted {len(columns)}"
            )
    return [(image_id, text) for image_id, text in rows]


def _first_difference(found: list[str], wanted: list[str]) -> str:
    repeated = [image_id for image_id, count in Counter(found).items() if count > 1]
    missing = sorted(set(wanted) - set(found))
    unknown = sorted(set(found) - set(wanted))
    if repeated:
        return f"the id {repeated[0]!r} has more than one row"
    if missing:
        return f"{len(missing)} of {len(wanted)} ids have no row, the first is {missing[0]!r}"
    if unknown:
        return f"the id {unknown[0]!r} is not in the sample submission"
    return "the rows are not in the order of the sample submission"


def _quoted(field: str) -> str:
    needs_quotes = any(mark in field for mark in ',"\r\n')
    return '"' + field.replace('"', '""') + '"' if needs_quotes else field
