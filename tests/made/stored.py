"""Changes to a store from outside, as a damaged disk or a user makes them."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Literal

Column = Literal["content", "sha256", "label", "payload", "missing"]


def databases(folder: Path) -> list[Path]:
    """The SQLite files of the store in `folder`."""
    return sorted(folder.glob("entries-*.sqlite"))


def names(folder: Path) -> list[str]:
    """The names of all entries."""
    found: list[str] = []
    for path in databases(folder):
        with closing(sqlite3.connect(path)) as connection:
            found += [name for (name,) in connection.execute("SELECT name FROM entries")]
    return sorted(found)


def forget(folder: Path, image: str) -> None:
    """Delete the entries of an image."""
    _change(folder, "DELETE FROM entries WHERE image = ?", (image,))


def overwrite(folder: Path, image: str, column: Column, value: bytes) -> None:
    """Write something else into a column of an image's entries."""
    _change(folder, f"UPDATE entries SET {column} = ? WHERE image = ?", (value, image))


def _change(folder: Path, statement: str, values: tuple[bytes | str, ...]) -> None:
    changed = 0
    for path in databases(folder):
        with closing(sqlite3.connect(path)) as connection, connection:
            changed += connection.execute(statement, values).rowcount
    assert changed, "no entry was changed"
