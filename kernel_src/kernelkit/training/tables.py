"""Tables about images that somebody wrote: CSV or Parquet, every field as text."""

from pathlib import Path

import pandas as pd

from kernelkit.competition.tables import submission_rows
from kernelkit.errors import TableError, TrainingError

__all__ = ["column_of", "read_table"]


def read_table(path: Path) -> pd.DataFrame:
    """Read a table with a header, every field as text without spaces around it.

    Raises
    ------
    TrainingError
        There is no such file, or it is no table.
    """
    try:
        header, *rows = submission_rows(path, "utf-8-sig")
    except TableError as error:
        raise TrainingError(f"{error.found}. Correct the path, or write the table again") from error
    except ValueError:
        raise TrainingError(f"{path}: it is empty, wanted a table with a header") from None
    rows = [row for row in rows if row]
    for line, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise TrainingError(f"{path}: line {line} has {len(row)} fields, wanted {len(header)}")
    names = [name.strip() for name in header]
    return pd.DataFrame([[field.strip() for field in row] for row in rows], columns=names)


def column_of(table: pd.DataFrame, path: Path, name: str) -> list[str]:
    """A column of a table that `read_table` read.

    Raises
    ------
    TrainingError
        There is no such column.
    """
    if name not in table:
        raise TrainingError(
            f"{path}: found the columns {', '.join(map(str, table))}, wanted {name}. Rename one"
        )
    return list(table[name])
