"""The submission: one row per id, in the sample's order, checked and written in one piece.

An image that could not be predicted keeps a stated fallback row. So the file is always valid: a
competition refuses a submission that lacks an id.
"""

import csv
import gzip
import io
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TextIO, cast

import pandas as pd

from kernelkit.errors import KernelKitError, MaskError, OutputError, SubmissionError
from kernelkit.files import DAMAGED_ARCHIVE, open_atomically
from kernelkit.mask import BitMask, rle_check
from kernelkit.recipe import Competition

__all__ = [
    "Submission",
    "check_rows",
    "check_submission",
    "preview",
    "read_submission",
    "submission_rows",
]

# how compressed files begin
_ZIP, _GZIP = (b"PK\x03\x04", b"PK\x05\x06"), b"\x1f\x8b"


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
    ids: Iterable[str] | None,
    sizes: Mapping[str, tuple[int, int]],
    competition: Competition,
) -> Iterator[tuple[str, BitMask]]:
    """Read a submission as the competition will, and refuse what it would refuse.

    Parameters
    ----------
    path
        The CSV file, or its archive. `submission_rows` says which.
    ids
        The ids it must have, one row each, in this order. None means its own, each of them once.
    sizes
        Height and width of each image. The encoding of an id without one is checked, except that
        its runs may end anywhere.
    competition
        The columns and the RLE convention.

    Yields
    ------
    Each id in `sizes`, and its decoded mask.

    Raises
    ------
    SubmissionError
        The file is not a table. Or it has wrong columns, a missing, repeated or misplaced id, or an
        RLE that is malformed or leaves its image.
    """
    rle = competition.rle
    columns = [competition.id_column, competition.rle_column]
    for image_id, text in check_rows(path, columns, ids):
        try:
            if image_id in sizes:
                mask = BitMask.from_rle(
                    text, sizes[image_id], order=rle.order, base=rle.base, empty=rle.empty
                )
            else:
                rle_check(text, base=rle.base, empty=rle.empty)
                continue
        except MaskError as error:
            raise SubmissionError(f"{path}: the row of {image_id}: {error}") from error
        yield image_id, mask


def check_submission(
    path: str | Path,
    ids: Iterable[str] | None,
    sizes: Mapping[str, tuple[int, int]],
    competition: Competition,
) -> None:
    """Refuse what the competition would refuse. The arguments are those of `read_submission`.

    One mask at a time is in memory.
    """
    for _ in read_submission(path, ids, sizes, competition):
        pass


def check_rows(
    path: str | Path, columns: Sequence[str], ids: Iterable[str] | None
) -> Iterator[list[str]]:
    """Iterate over the rows of a submission, and refuse columns and ids that are not wanted.

    Parameters
    ----------
    path
        The CSV file, or its archive.
    columns
        The columns it must have. The first holds the ids.
    ids
        The ids it must have, as for `check_submission`.

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
    for number, row in enumerate(rows, start=2):
        if len(row) != len(columns):
            raise SubmissionError(
                f"{path}: line {number} has {len(row)} fields, wanted {len(columns)}"
            )
        found.append(row[0])
        if wanted is not None and len(found) > len(wanted):
            break  # one of them is too many, and a file may have no end
        yield row
    if problem := _first_difference(found, wanted):
        raise SubmissionError(f"{path}: {problem}")


def submission_rows(path: str | Path) -> Iterator[list[str]]:
    """Iterate over the rows of a CSV file, beginning with its header.

    The file may be compressed, as Kaggle takes it: by gzip, or as the one file of a zip archive.
    What it begins with decides, not its name.

    Raises
    ------
    SubmissionError
        The file is missing or cannot be read, or it is not a table in UTF-8.
    """
    path = Path(path)
    limit = csv.field_size_limit(2**31 - 1)
    try:
        with _opened(path) as file:
            yield from csv.reader(file)
    except KernelKitError:
        raise
    except UnicodeDecodeError as error:
        raise SubmissionError(
            f"{path}: it is not text in UTF-8 (byte {error.object[error.start]:#04x}). Wanted a CSV"
            " file, plain or compressed by zip or gzip"
        ) from None
    except csv.Error as error:
        raise SubmissionError(f"{path}: it is not a CSV file ({error}). Write it again") from None
    except OSError as error:
        raise SubmissionError(
            f"{path}: it cannot be read ({error.strerror or error}). Write it again"
        ) from None
    except DAMAGED_ARCHIVE as error:
        raise SubmissionError(
            f"{path}: the archive is damaged or encrypted ({error}). Compress the file again"
        ) from None
    finally:
        csv.field_size_limit(limit)


def preview(path: str | Path, rows: int = 20, characters: int = 60) -> pd.DataFrame:
    """The first rows of a submission for people. A long RLE is cut, and its length stated."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False, nrows=rows)
    return table.map(
        lambda text: (
            text if len(text) <= characters else f"{text[:characters]}... ({len(text)} characters)"
        )
    )


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    """Open a CSV file as text, whether or not it is compressed."""
    if not path.exists():
        raise SubmissionError(f"{path}: there is no such file. The notebook has not written it")
    if not path.is_file():
        raise SubmissionError(f"{path}: it is not a file. Name the CSV file itself")
    with path.open("rb") as file:
        start = file.read(4)
    with ExitStack() as stack:
        content: IO[bytes]
        if start.startswith(_ZIP):
            content = stack.enter_context(_only_member(path, stack))
        elif start.startswith(_GZIP):
            content = cast(IO[bytes], stack.enter_context(gzip.GzipFile(path)))
        else:
            content = stack.enter_context(path.open("rb"))
        yield stack.enter_context(io.TextIOWrapper(content, encoding="utf-8", newline=""))


def _only_member(path: Path, stack: ExitStack) -> IO[bytes]:
    archive = stack.enter_context(zipfile.ZipFile(path))
    members = [member for member in archive.infolist() if not member.is_dir()]
    if len(members) != 1:
        raise SubmissionError(
            f"{path}: the archive holds {len(members)} files, wanted one. Compress the CSV file"
            " alone"
        )
    return archive.open(members[0])


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


def _quoted(field: str) -> str:
    needs_quotes = any(mark in field for mark in ',"\r\n')
    return '"' + field.replace('"', '""') + '"' if needs_quotes else field
