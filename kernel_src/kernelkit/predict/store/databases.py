"""All SQLite files of a store: those of other processes are read, and one is this process's own."""

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from threading import RLock

from kernelkit.predict.store.file import (
    DAMAGED_DATABASE,
    Database,
    Row,
    create_database,
    database_paths,
    open_database,
)
from kernelkit.predict.store.unfinished import remove_unfinished

__all__ = ["Databases"]

# nanoseconds in which the time of a folder may stay the same although it changes
_TICK = 10**8
_NEVER = -1


class Databases:
    """The databases in the folder of a store. Several threads may use them.

    Parameters
    ----------
    folder
        The folder. It need not be there yet.
    read_only
        Whether nothing may be written to it.
    note
        Takes a sentence about each database that is damaged.
    """

    def __init__(self, folder: Path, read_only: bool, note: Callable[[str], None]) -> None:
        self._folder, self._read_only, self._note = folder, read_only, note
        self._lock = RLock()
        self._opened: dict[Path, Database] = {}
        self._refused: set[Path] = set()
        self._listed = _NEVER
        self._own: Database | None = None

    def ask_each[T](self, ask: Callable[[Database], T]) -> Iterator[T]:
        """What each database answers, the newest first. One that is damaged is not asked again."""
        for database in self._newest_first():
            try:
                answer = ask(database)
            except DAMAGED_DATABASE as error:
                self._refuse(database.path, str(error))
            else:
                yield answer

    def insert(self, rows: Iterable[Row]) -> None:
        """Write rows to the database of this process, in one transaction.

        Raises
        ------
        OutputError
            The folder cannot be written to.
        sqlite3.Error
            The database cannot be written.
        """
        with self._lock:
            self._own = self._own or self._new()
            try:
                self._own.insert(rows)
            except sqlite3.OperationalError as error:
                if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_BUSY:
                    raise
                # somebody holds the file open in a tool. To wait again each time would take hours
                self._own = self._new()
                self._own.insert(rows)

    def close(self) -> None:
        """Close the files."""
        with self._lock:
            for database in self._opened.values():
                database.close()

    def _newest_first(self) -> list[Database]:
        """The databases of all processes. The folder is listed again if it changed."""
        with self._lock:
            changed = self._folder.stat().st_mtime_ns if self._folder.is_dir() else _NEVER
            if changed != self._listed:
                for path in database_paths(self._folder):
                    if path not in self._opened and path not in self._refused:
                        self._open(path)
                # a file that comes within the clock's tick would not change the time again
                is_settled = time.time_ns() - changed > _TICK
                self._listed = changed if is_settled else _NEVER
            return [self._opened[path] for path in sorted(self._opened, reverse=True)]

    def _open(self, path: Path) -> None:
        opened = open_database(path, self._read_only)
        if isinstance(opened, Database):
            self._opened[path] = opened
        else:
            self._refuse(path, opened)

    def _new(self) -> Database:
        """The file that this process writes to. What dead processes were making goes."""
        remove_unfinished(self._folder)
        database = create_database(self._folder)
        self._opened[database.path] = database
        return database

    def _refuse(self, path: Path, reason: str) -> None:
        with self._lock:
            self._opened.pop(path, None)
            self._refused.add(path)
        self._note(
            f"{path}: this database of the store is not used ({reason}). What only it holds is "
            "predicted again"
        )
