"""Tables of rows as Kaggle takes them: CSV, plain or compressed, and Parquet.

What a file begins with decides how it is read, not its name.
"""

import csv
import gzip
import io
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import batched
from pathlib import Path
from typing import IO, TYPE_CHECKING, TextIO, cast

import pandas as pd

from kernelkit.errors import KernelKitError, SubmissionError, TableError
from kernelkit.files import DAMAGED_ARCHIVE, open_atomically, replace_atomically

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["is_parquet", "preview", "submission_rows", "write_csv", "write_parquet"]

# how compressed files begin, and Parquet
_ZIP, _GZIP, _PARQUET = (b"PK\x03\x04", b"PK\x05\x06"), b"\x1f\x8b", b"PAR1"
_ROWS_AT_ONCE = 4096


def is_parquet(path: str | Path) -> bool:
    """Whether a file is named as Parquet files are."""
    return Path(path).suffix.lower() == ".parquet"


def submission_rows(path: str | Path, encoding: str = "utf-8") -> Iterator[list[str]]:
    """Iterate over the rows of a table, beginning with its header.

    A CSV file may be compressed by gzip, or be the one file of a zip archive. Kaggle takes both.
    In a Parquet file, what is no text is written as text, and nothing as "".

    Parameters
    ----------
    path
        The file.
    encoding
        "utf-8-sig" leaves out the mark of byte order that some programs write first. Kaggle would
        take it for a part of the first column's name.

    Raises
    ------
    TableError
        The file is missing or cannot be read, or it is not a table in UTF-8.
    """
    path = Path(path)
    start = _first_bytes(path)
    if start == _PARQUET:
        yield from _parquet_rows(path)
        return
    limit = csv.field_size_limit(2**31 - 1)
    try:
        with _opened(path, start, encoding) as file:
            yield from csv.reader(file)
    except KernelKitError:
        raise
    except UnicodeDecodeError as error:
        raise TableError(
            f"{path}: it is not text in UTF-8 (byte {error.object[error.start]:#04x}). Wanted a CSV"
            " file, plain or compressed by zip or gzip"
        ) from None
    except csv.Error as error:
        raise TableError(f"{path}: it is not a CSV file ({error})", "Write it again") from None
    except OSError as error:
        raise _unreadable(path, error) from None
    except DAMAGED_ARCHIVE as error:
        raise TableError(
            f"{path}: the archive is damaged or encrypted ({error}). Compress the file again"
        ) from None
    finally:
        csv.field_size_limit(limit)


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a CSV file. What was there stays until the new file is complete."""
    with open_atomically(path) as file:
        # at 200 MB per field the csv module is the slow part
        csv.writer(file, lineterminator="\n").writerow(header)
        for row in rows:
            file.write(f"{','.join(map(_quoted, row))}\n")


def write_parquet(
    path: Path, header: Sequence[str], rows: Iterable[Sequence[str]], like: Path | None = None
) -> None:
    """Write a Parquet file. What was there stays until the new file is complete.

    Parameters
    ----------
    like
        A Parquet file whose columns have the types that are wanted. Without one, all are text.

    Raises
    ------
    SubmissionError
        A text is none of the type that its column has in `like`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(name, pa.string()) for name in header])
    if like is not None:
        known = pq.read_schema(like)
        schema = pa.schema([known.field(name) for name in header])
    with (
        replace_atomically(path) as unfinished,
        pq.ParquetWriter(unfinished, schema) as writer,
    ):
        for some in batched(rows, _ROWS_AT_ONCE):
            columns = zip(*some, strict=True)
            arrays = [
                _typed(list(texts), field) for texts, field in zip(columns, schema, strict=True)
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def preview(path: str | Path, rows: int = 20, characters: int = 60) -> pd.DataFrame:
    """The first rows of a submission for people. A long RLE is cut, and its length stated.

    Parameters
    ----------
    path
        The file.
    rows
        How many rows.
    characters
        The longest text that stays whole.
    """
    if is_parquet(path):
        table = pd.read_parquet(path).head(rows).astype(str)
    else:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, nrows=rows)
    return table.map(
        lambda text: (
            text if len(text) <= characters else f"{text[:characters]}... ({len(text)} characters)"
        )
    )


def _typed(texts: list[str], field: "pa.Field") -> "pa.Array":
    """Texts as what a column of the sample holds."""
    import pyarrow as pa

    is_text = pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
    array = pa.array(texts, pa.large_string())
    if is_text and field.type == array.type:
        return array
    if not is_text:
        array = pa.array([text or None for text in texts], pa.large_string())
    try:
        return array.cast(field.type)
    except pa.ArrowException as error:
        raise SubmissionError(
            f"the column {field.name} holds {field.type} in the sample, and {texts[0]!r:.40} is to "
            f"be written into it ({error}). Correct the recipe's columns"
        ) from error


def _parquet_rows(path: Path) -> Iterator[list[str]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            yield list(file.schema_arrow.names)
            for batch in file.iter_batches(_ROWS_AT_ONCE):
                columns = [column.cast(pa.large_string()).to_pylist() for column in batch.columns]
                for row in zip(*columns, strict=True):
                    yield [text or "" for text in row]
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise TableError(
            f"{path}: it is no whole Parquet file of texts and numbers ({reason})",
            "Write it again",
        ) from None


def _first_bytes(path: Path) -> bytes:
    if not path.exists():
        raise TableError(f"{path}: there is no such file", "The notebook has not written it")
    if not path.is_file():
        raise TableError(f"{path}: it is not a file. Name the CSV file itself")
    try:
        with path.open("rb") as file:
            return file.read(4)
    except OSError as error:
        raise _unreadable(path, error) from None


@contextmanager
def _opened(path: Path, start: bytes, encoding: str) -> Iterator[TextIO]:
    """Open a CSV file as text, whether or not it is compressed."""
    with ExitStack() as stack:
        content: IO[bytes]
        if start.startswith(_ZIP):
            content = stack.enter_context(_only_member(path, stack))
        elif start.startswith(_GZIP):
            content = cast(IO[bytes], stack.enter_context(gzip.GzipFile(path)))
        else:
            content = stack.enter_context(path.open("rb"))
        yield stack.enter_context(io.TextIOWrapper(content, encoding, newline=""))


def _only_member(path: Path, stack: ExitStack) -> IO[bytes]:
    archive = stack.enter_context(zipfile.ZipFile(path))
    members = [member for member in archive.infolist() if not member.is_dir()]
    if len(members) != 1:
        raise TableError(
            f"{path}: the archive holds {len(members)} files, wanted one. Compress the CSV file"
            " alone"
        )
    return archive.open(members[0])


def _unreadable(path: Path, error: OSError) -> TableError:
    return TableError(f"{path}: it cannot be read ({error.strerror or error})", "Write it again")


def _quoted(field: str) -> str:
    needs_quotes = any(mark in field for mark in ',"\r\n')
    return '"' + field.replace('"', '""') + '"' if needs_quotes else field
