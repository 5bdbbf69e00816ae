"""The sample submission: which rows and columns the competition wants, in which order."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from kernelkit.competition.tables import is_parquet, submission_rows
from kernelkit.errors import CompetitionError, TableError
from kernelkit.recipe import Competition

__all__ = ["Sample", "read_sample"]

_OTHER = {".csv": ".parquet", ".parquet": ".csv"}


@dataclass(frozen=True, slots=True)
class Sample:
    """What a sample submission says.

    Attributes
    ----------
    path
        The file.
    header
        Its columns.
    ids
        The ids of its rows, each once.
    columns
        For each of the recipe's other columns, what the sample holds in the row of each id.
    """

    path: Path
    header: tuple[str, ...]
    ids: tuple[str, ...]
    columns: dict[str, dict[str, str]]


def read_sample(folder: Path, competition: Competition) -> Sample | None:
    """Read the sample submission. None if there is none.

    Raises
    ------
    CompetitionError
        The file is of the other kind, or is no table. Or it has other columns than the recipe
        writes, or its ids cannot be meant.
    """
    path = folder / competition.sample
    if not path.is_file():
        other = path.with_suffix(_OTHER.get(path.suffix, path.suffix))
        if other.is_file():
            raise CompetitionError(
                f"{folder}: found {other.name}, wanted {competition.sample} as the recipe says. "
                f"Write {other.relative_to(folder)} as 'sample' in the recipe"
            )
        return None
    table = _read(path)
    header = tuple(table.columns)
    if sorted(header) != sorted(competition.header):
        raise CompetitionError(
            f"{path}: the columns are {', '.join(header)}, but the recipe writes "
            f"{', '.join(competition.header)}. Correct id_column, rle_column and columns in the "
            "recipe"
        )
    ids = table[competition.id_column]
    if not len(ids):
        raise CompetitionError(f"{path}: it lists no id. Download it again")
    repeated = ids.duplicated()
    if repeated.any() and competition.rle.instances != "rows":
        raise CompetitionError(
            f"{path}: the id {ids[repeated].iloc[0]!r} stands in it twice. Each row needs an id of "
            "its own"
        )
    first = table[~repeated].set_index(competition.id_column)
    columns = {name: first[name].to_dict() for name in competition.columns}
    return Sample(path, header, tuple(first.index), columns)


def _read(path: Path) -> pd.DataFrame:
    try:
        if is_parquet(path):
            header, *rows = submission_rows(path)
            return pd.DataFrame(rows, columns=header, dtype=str)
        with warnings.catch_warnings():  # a comma after the last field is no further column
            warnings.simplefilter("ignore", pd.errors.ParserWarning)
            return pd.read_csv(
                path, dtype=str, keep_default_na=False, encoding="utf-8-sig", index_col=False
            )
    except TableError as error:
        raise CompetitionError(f"{error.found}. Download it again") from error
    except (ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise CompetitionError(
            f"{path}: this is no CSV file in UTF-8 ({reason}). Download it again"
        ) from error
