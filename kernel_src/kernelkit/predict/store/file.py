"""The SQLite files of a store: one per writing process, each with the entries of many images.

A file is written in whole transactions. A killed process loses the one that it was in, and the
next reader rolls it back. SQLite does not notice a flipped bit, so each row has a checksum.
"""

import hashlib
import os
import shutil
import sqlite3
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from kernelkit.errors import OutputError
from kernelkit.files import replace_atomically

__all__ = [
    "DAMAGED_DATABASE",
    "Database",
    "Row",
    "create_database",
    "database_paths",
    "open_database",
]

# "kkst", by which SQLite files of a store are told from others
_APPLICATION = 0x6B6B7374
_VERSION = 1
# what a damaged file raises: a page is no page, a text is no text
DAMAGED_DATABASE = (sqlite3.Error, UnicodeDecodeError)
_TABLE = f"""
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_VERSION};
CREATE TABLE entries (
    name TEXT PRIMARY KEY, image TEXT NOT NULL, content TEXT NOT NULL, sha256 BLOB NOT NULL,
    label BLOB NOT NULL, payload BLOB, missing BLOB
);
CREATE INDEX images ON entries (image);
"""
_COLUMNS = "name, image, content, sha256, label, payload, missing"
# how long to wait for a process that writes its transaction, which takes less than a second
_SECONDS_TO_WAIT = 10
# large enough that a blob of some 100 kB is not a chain of many pages
_PAGE_BYTES = 16384


@dataclass(frozen=True, slots=True)
class Row:
    """One entry as it lies in the table.

    Attributes
    ----------
    name
        The entry's name, unlike all others.
    image, content
        The image as a file name has it, and the hash of its files.
    label
        What the payload is, and the report of the image, in JSON.
    payload, missing
        Compressed bytes, or None.
    """

    name: str
    image: str
    content: str
    label: bytes
    payload: bytes | None
    missing: bytes | None

    @property
    def sha256(self) -> bytes:
        """The checksum of all columns, which also says where each of them ends."""
        hashed: list[bytes] = []
        for part in (self.name, self.image, self.content, self.label, self.payload, self.missing):
            # SQLite gives what lies there: a damaged column may be of any type
            content = part if isinstance(part, bytes) else str(part).encode()
            hashed += len(content).to_bytes(8, "little"), content
        return hashlib.sha256(b"".join(hashed)).digest()


class Database:
    """One SQLite file of entries. Several threads may use it.

    Parameters
    ----------
    path
        The file.
    connection
        To it, or to a copy of it.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._lock = Lock()

    def insert(self, rows: Iterable[Row]) -> None:
        """Write rows in one transaction. A row replaces another of its name."""
        values = [
            (row.name, row.image, row.content, row.sha256, row.label, row.payload, row.missing)
            for row in rows
        ]
        with self._lock, _transaction(self._connection) as connection:
            connection.executemany(
                f"INSERT OR REPLACE INTO entries ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", values
            )

    def delete(self, name: str) -> None:
        """Remove the row of a name, if it is there."""
        with self._lock, _transaction(self._connection) as connection:
            connection.execute("DELETE FROM entries WHERE name = ?", (name,))

    def find(self, name: str) -> tuple[Row, bytes] | None:
        """The row of a name, with the checksum that it should have."""
        return next(iter(self._rows("name = ?", (name,))), None)

    def find_all(self, image: str, content: str) -> list[tuple[Row, bytes]]:
        """The rows of an image with this content, those written last first."""
        return self._rows("image = ? AND content = ? ORDER BY rowid DESC", (image, content))

    def some(self) -> list[tuple[Row, bytes]]:
        """One row, or none."""
        return self._rows("1 LIMIT ?", (1,))

    def has(self, image: str) -> bool:
        """Whether there is a row of an image."""
        with self._lock:
            asked = self._connection.execute("SELECT 1 FROM entries WHERE image = ?", (image,))
            return asked.fetchone() is not None

    def images(self) -> set[str]:
        """The images of all rows."""
        with self._lock:
            return {image for (image,) in self._connection.execute("SELECT image FROM entries")}

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def _rows(self, where: str, values: tuple[str | int, ...]) -> list[tuple[Row, bytes]]:
        with self._lock:
            found = self._connection.execute(
                f"SELECT {_COLUMNS} FROM entries WHERE {where}", values
            ).fetchall()
        return [(Row(*row[:3], *row[4:]), row[3]) for row in found]


def database_paths(folder: Path) -> list[Path]:
    """The SQLite files of a store, the oldest first."""
    return sorted(folder.glob("entries-*.sqlite"))


def create_database(folder: Path) -> Database:
    """Make a new SQLite file for this process in the folder of a store.

    Raises
    ------
    OutputError
        The folder cannot be written to.
    """
    name = f"entries-{time.time_ns():020d}-{os.getpid()}-{uuid.uuid4().hex[:8]}.sqlite"
    path = folder / name
    try:
        # it gets its name once it has its table, since other processes may look for it
        with replace_atomically(path) as unfinished, closing(_connect(unfinished, "rw")) as new:
            new.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
            new.executescript(_TABLE)
        connection = _connect(path, "rw")
        connection.execute("PRAGMA synchronous = NORMAL")
    except (OSError, sqlite3.Error) as error:
        raise OutputError(
            f"{path}: the store's database cannot be written ({error}). Choose an output folder "
            "that is writable and has room"
        ) from error
    return Database(path, connection)


def open_database(path: Path, read_only: bool) -> Database | str:
    """Open an SQLite file of a store.

    Parameters
    ----------
    read_only
        Whether nothing may be written beside the file, as in the output of another notebook. What
        an interrupted transaction left there is rolled back in a copy.

    Returns
    -------
    The database, or what is wrong with it, in words.
    """
    try:
        connection = _opened(path, read_only or not os.access(path.parent, os.W_OK))
        [application] = connection.execute("PRAGMA application_id").fetchone()
        [version] = connection.execute("PRAGMA user_version").fetchone()
        if application != _APPLICATION:
            return "it is a file of something else"
        if version != _VERSION:
            return f"it has version {version}, wanted {_VERSION}"
        connection.execute(f"SELECT {_COLUMNS} FROM entries LIMIT 1").fetchone()
    except (OSError, sqlite3.Error) as error:
        return str(error)
    return Database(path, connection)


def _opened(path: Path, read_only: bool) -> sqlite3.Connection:
    if not read_only:
        return _connect(path, "rw")
    journal = path.with_name(f"{path.name}-journal")
    if not journal.exists() or not journal.stat().st_size:
        return _connect(path, "ro&immutable=1")
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(folder) / path.name
        shutil.copyfile(path, copied)
        shutil.copyfile(journal, copied.with_name(journal.name))
        connection = _connect(copied, "rw")
        connection.execute("SELECT name FROM entries LIMIT 1").fetchone()  # rolls back
        return connection  # an open file outlives its name


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    address = f"{path.resolve().as_uri()}?mode={mode}"
    return sqlite3.connect(
        address,
        uri=True,
        timeout=_SECONDS_TO_WAIT,
        isolation_level=None,
        check_same_thread=False,
    )


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Do all of a `with` block, or nothing of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
