"""The store: where the two halves of a run meet. Work puts masks or layers in, hand in takes them.

An interrupted run goes on where it was. An entry is found under a key of all that its bytes depend
on. That is the image's whole content, the recipe's part before the store, the weights, and the
versions. If one of them changes, the image is predicted again.

Many entries share an SQLite file, and each process that writes has a file of its own. Entries are
written in transactions. A killed process loses the last one at most.
"""

import hashlib
import os
import re
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import RLock

from kernelkit.errors import OutputError
from kernelkit.predict.store.file import (
    DAMAGED_DATABASE,
    Database,
    Row,
    create_database,
    database_paths,
    open_database,
)
from kernelkit.predict.store.payload import SUFFIXES, Layers, Stored, decode, encode
from kernelkit.predict.store.recent import RecentMasks

__all__ = ["Entry", "Layers", "Store", "Stored"]

_LONGEST_NAME = 80
# A transaction ends with the first entry that comes so many seconds after the last one ended,
_SECONDS = 1.0
# or with the entry that makes it so large.
_BYTES = 32 * 2**20
# nanoseconds in which the time of a folder may stay the same although it changes
_TICK = 10**8
_NEVER = -1
# of the picture of the members' disagreement
_PICTURE = ".png"
# how the name of a file begins that is being made, followed by the process that makes it, the host
# and something random
_UNFINISHED = ".unfinished-"
# what was opened before a fork: closing it in the child would disturb the parent
_inherited: list[object] = []


@dataclass(frozen=True, slots=True)
class Entry:
    """The place of one image in the store.

    Attributes
    ----------
    store
        The store.
    name
        The entry's name, unlike all others. It is a file name without a suffix.
    image, content
        The image as a file name has it, and the hash of its files. Only an entry that is written
        needs them.
    """

    store: "Store" = field(repr=False)
    name: str
    image: str = field(default="", compare=False)
    content: str = field(default="", compare=False)

    @property
    def path(self) -> Path:
        """Where files of this entry lie, but for their suffix."""
        return self.store.folder / self.name

    @property
    def picture_path(self) -> Path:
        """Where the picture of the members' disagreement lies, if there is one."""
        return self.store.folder / f"{self.name}{_PICTURE}"

    def load(self) -> Stored | None:
        """What was saved, or None if nothing was or it is damaged. The store notes what is."""
        return self.store._load(self.name)

    def recall(self) -> Stored | None:
        """What `load` gives, from memory if this process saved it lately and it is small."""
        return self.store._recall(self.name) or self.load()

    def save(self, stored: Stored, values_file: Path | None = None) -> None:
        """Write masks or layers and their report. They are safe after the next `Store.flush`.

        Parameters
        ----------
        stored
            What is written. An entry of the same name is replaced.
        values_file
            An .npy file of uint8 that holds the layers' values already, as `Store.new_file` names
            one. It is moved into the store and not written again.

        Raises
        ------
        OutputError
            The store cannot be written to.
        """
        place = Row(self.name, self.image, self.content, b"", None, None)
        self.store._save(encode(stored, place, self.path, values_file), stored)

    def remove(self) -> None:
        """Take the entry and its files out of the store, if it is there."""
        self.store._remove(self.name)


class Store:
    """A folder of finished masks or layers, one entry per image and key.

    Threads may share a store. A process that is forked or gets it pickled opens its own files.

    Parameters
    ----------
    folder
        Made when the first entry is saved.
    read_only
        Whether nothing may be written to the folder, as to the output of another notebook.

    Attributes
    ----------
    folder
        The folder.
    notes
        What was damaged, one sentence each.
    """

    def __init__(self, folder: str | Path, read_only: bool = False) -> None:
        self.folder = Path(folder)
        self.notes: list[str] = []
        self._read_only = read_only
        self._recent = RecentMasks()
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._lock = RLock()
        self._databases: dict[Path, Database] = {}
        self._refused: set[Path] = set()
        self._listed = _NEVER
        self._own: Database | None = None
        self._pending: dict[str, Row] = {}
        self._pending_bytes = 0
        self._committed = time.monotonic()

    def __reduce__(self) -> tuple[type["Store"], tuple[Path, bool]]:
        return Store, (self.folder, self._read_only)

    def entry(self, image_id: str, content: str, *parts: str) -> Entry:
        """The entry of an image made under a key.

        Parameters
        ----------
        content
            The hash of the image's files. Stores of other notebooks are searched by it.
        parts
            Hashes of all else that the entry's bytes depend on.
        """
        image = _file_name(image_id)
        key = _sha256("\n".join((content, *parts)))[:32]
        return Entry(self, f"{image}-{key}", image, content)

    def entry_named(self, name: str) -> Entry:
        """The entry of this name, as a report states it."""
        return Entry(self, name)

    def has_any(self, image_id: str) -> bool:
        """Whether there was an entry of this image at the first question, under any key."""
        return _file_name(image_id) in self._images

    def has_by_now(self, image_id: str) -> bool:
        """Whether there is an entry of this image, which another process may have just written."""
        image = _file_name(image_id)
        return any(
            self._asked(database, lambda d: d.has(image)) for database in self._newest_first()
        )

    def find(self, image_id: str, content: str) -> Stored | None:
        """The layers that were saved last of an image with this content, under any key."""
        image = _file_name(image_id)
        for database in self._newest_first():
            found = self._asked(database, lambda d: d.find_all(image, content)) or []
            for row, sha256 in found:
                stored = self._decoded(row, sha256)
                if stored is not None and stored.layers is not None:
                    return stored
        return None

    def any_layers(self) -> Stored | None:
        """The layers of some image, to see what kind of layers the store has."""
        for database in self._newest_first():
            for row, sha256 in self._asked(database, lambda d: d.some()) or []:
                stored = self._decoded(row, sha256)
                if stored is not None and stored.layers is not None:
                    return stored
        return None

    def new_file(self, suffix: str = ".npy") -> Path:
        """A file of no use to others yet, in which something large can be made."""
        self.folder.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(
            suffix, f"{_UNFINISHED}{os.getpid()}-{_host()}-", self.folder
        )
        os.close(descriptor)
        return Path(name)

    def flush(self) -> None:
        """End the transaction: write all entries that were saved.

        Raises
        ------
        OutputError
            The store cannot be written to.
        """
        with self._locked():
            if not self._pending:
                return
            try:
                self._insert(self._pending.values())
            except sqlite3.Error as error:
                raise OutputError(
                    f"{self.folder}: the store cannot be written to ({error}). Make room, or "
                    "choose another output folder"
                ) from error
            self._pending.clear()
            self._pending_bytes = 0
            self._committed = time.monotonic()

    def close(self) -> None:
        """Write all entries that were saved, and close the files."""
        with self._locked():
            self.flush()
            for database in self._databases.values():
                database.close()
            self._begin()

    def _insert(self, rows: Iterable[Row]) -> None:
        self._own = self._own or self._new_database()
        try:
            self._own.insert(rows)
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_BUSY:
                raise
            # somebody holds the file open in a tool. To wait again each time would take hours
            self._own = self._new_database()
            self._own.insert(rows)

    def _save(self, row: Row, stored: Stored) -> None:
        with self._locked():
            self._pending[row.name] = row
            self._recent.put(row.name, stored, row.content)
            self._pending_bytes += len(row.payload or b"")
            is_late = time.monotonic() > self._committed + _SECONDS
            if is_late or self._pending_bytes > _BYTES:
                try:
                    self.flush()
                except OutputError:
                    del self._pending[row.name]  # or a full disk would fill the memory too
                    self._recent.forget(row.name)
                    self._pending_bytes -= len(row.payload or b"")
                    raise

    def _recall(self, name: str) -> Stored | None:
        with self._locked():
            return self._recent.get(name)

    def _load(self, name: str) -> Stored | None:
        with self._locked():
            pending = self._pending.get(name)
        if pending is not None:
            return self._decoded(pending, pending.sha256)
        for database in self._newest_first():
            found = self._asked(database, lambda d: d.find(name))
            stored = None if found is None else self._decoded(*found)
            if stored is not None:  # an older one is better than one that is damaged
                return stored
        return None

    def _remove(self, name: str) -> None:
        with self._locked():
            self._pending.pop(name, None)
            self._recent.forget(name)
        for database in self._newest_first():
            self._asked(database, lambda d: d.delete(name))
        for suffix in (*SUFFIXES, _PICTURE):
            (self.folder / f"{name}{suffix}").unlink(missing_ok=True)

    def _decoded(self, row: Row, sha256: bytes) -> Stored | None:
        stored = decode(row, sha256, self.folder / row.name)
        if isinstance(stored, Stored):
            return stored
        self._note(f"{self.folder / row.name}: this stored entry is not used, because {stored}")
        return None

    def _asked[T](self, database: Database, ask: Callable[[Database], T]) -> T | None:
        """What a database answers. One that is damaged is not asked again."""
        try:
            return ask(database)
        except DAMAGED_DATABASE as error:
            self._refuse(database.path, str(error))
            return None

    @cached_property
    def _images(self) -> frozenset[str]:
        """The images that have entries. Asking the files once per image would be quadratic."""
        found = (self._asked(database, lambda d: d.images()) for database in self._newest_first())
        return frozenset().union(*filter(None, found))

    def _newest_first(self) -> list[Database]:
        """The databases of all processes. The folder is listed again if it changed."""
        with self._locked():
            changed = self.folder.stat().st_mtime_ns if self.folder.is_dir() else _NEVER
            if changed != self._listed:
                for path in database_paths(self.folder):
                    if path not in self._databases and path not in self._refused:
                        self._open(path)
                # a file that comes within the clock's tick would not change the time again
                is_settled = time.time_ns() - changed > _TICK
                self._listed = changed if is_settled else _NEVER
            return [self._databases[path] for path in sorted(self._databases, reverse=True)]

    def _open(self, path: Path) -> None:
        opened = open_database(path, self._read_only)
        if isinstance(opened, Database):
            self._databases[path] = opened
        else:
            self._refuse(path, opened)

    def _new_database(self) -> Database:
        """The file that this process writes to. What dead processes were making goes."""
        for path in self.folder.glob(f"{_UNFINISHED}*"):
            process, _, rest = path.name.removeprefix(_UNFINISHED).partition("-")
            # what another machine makes, which shares the folder, looks dead from here
            is_ours = process.isdigit() and rest.startswith(f"{_host()}-")
            if is_ours and not Path(f"/proc/{process}").exists():
                path.unlink(missing_ok=True)
        database = create_database(self.folder)
        self._databases[database.path] = database
        return database

    def _refuse(self, path: Path, reason: str) -> None:
        self._databases.pop(path, None)
        self._refused.add(path)
        self._note(
            f"{path}: this database of the store is not used ({reason}). What only it holds is "
            "predicted again"
        )

    def _note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)

    def _locked(self) -> RLock:
        """The lock. What a forked process inherits it neither uses nor closes."""
        if self._process != os.getpid():
            _inherited.append(self._databases)
            self._begin()
        return self._lock


def _host() -> str:
    """This machine, for a file name."""
    return _file_name(os.uname().nodename)


def _file_name(image_id: str) -> str:
    """A name of the image for files: an id may hold anything, a file name may not.

    Ids that lose a character, or are long, get a hash, so that no two share a name.
    """
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", image_id)[:_LONGEST_NAME]
    if name == image_id:
        return name
    return f"{name}-{_sha256(image_id)[:8]}"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
