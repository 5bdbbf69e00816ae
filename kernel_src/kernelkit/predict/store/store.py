"""The store: where the two halves of a run meet. Work puts masks or layers in, hand in takes them.

An interrupted run goes on where it was. An entry is found under a key of all that its bytes depend
on. That is the image's whole content, the recipe's part before the store, the weights, and the
versions. If one of them changes, the image is predicted again.

Many entries share an SQLite file, and each process that writes has a file of its own. Entries are
written in transactions. A killed process loses the last one at most.
"""

import os
import sqlite3
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import RLock

from kernelkit.errors import OutputError
from kernelkit.predict.store.databases import Databases
from kernelkit.predict.store.file import Database, Row
from kernelkit.predict.store.names import file_name, sha256_of
from kernelkit.predict.store.payload import SUFFIXES, Layers, Stored, decode, encode
from kernelkit.predict.store.recent import RecentMasks
from kernelkit.predict.store.unfinished import unfinished_file

__all__ = ["Entry", "Layers", "Store", "Stored"]

# A transaction ends with the first entry that comes so many seconds after the last one ended,
_SECONDS = 1.0
# or with the entry that makes it so large.
_BYTES = 32 * 2**20
# of the picture of the members' disagreement
_PICTURE = ".png"
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
        self._databases = Databases(self.folder, self._read_only, self._note)
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
        image = file_name(image_id)
        key = sha256_of("\n".join((content, *parts)))[:32]
        return Entry(self, f"{image}-{key}", image, content)

    def entry_named(self, name: str) -> Entry:
        """The entry of this name, as a report states it."""
        return Entry(self, name)

    def has_any(self, image_id: str) -> bool:
        """Whether there was an entry of this image at the first question, under any key."""
        return file_name(image_id) in self._images

    def has_by_now(self, image_id: str) -> bool:
        """Whether there is an entry of this image, which another process may have just written."""
        image = file_name(image_id)
        return any(self._files.ask_each(lambda d: d.has(image)))

    def find(self, image_id: str, content: str) -> Stored | None:
        """The layers that were saved last of an image with this content, under any key."""
        image = file_name(image_id)
        return self._first_layers(lambda d: d.find_all(image, content))

    def any_layers(self) -> Stored | None:
        """The layers of some image, to see what kind of layers the store has."""
        return self._first_layers(lambda d: d.some())

    def new_file(self, suffix: str = ".npy") -> Path:
        """A file of no use to others yet, in which something large can be made."""
        return unfinished_file(self.folder, suffix)

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
                self._databases.insert(self._pending.values())
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
            self._databases.close()
            self._begin()

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
        for found in self._files.ask_each(lambda d: d.find(name)):
            stored = None if found is None else self._decoded(*found)
            if stored is not None:  # an older one is better than one that is damaged
                return stored
        return None

    def _remove(self, name: str) -> None:
        with self._locked():
            self._pending.pop(name, None)
            self._recent.forget(name)
        for _ in self._files.ask_each(lambda d: d.delete(name)):
            pass
        for suffix in (*SUFFIXES, _PICTURE):
            (self.folder / f"{name}{suffix}").unlink(missing_ok=True)

    def _first_layers(
        self, rows_of: Callable[[Database], Iterable[tuple[Row, bytes]]]
    ) -> Stored | None:
        """The first of some rows that holds layers and is whole."""
        for rows in self._files.ask_each(rows_of):
            for row, sha256 in rows:
                stored = self._decoded(row, sha256)
                if stored is not None and stored.layers is not None:
                    return stored
        return None

    def _decoded(self, row: Row, sha256: bytes) -> Stored | None:
        stored = decode(row, sha256, self.folder / row.name)
        if isinstance(stored, Stored):
            return stored
        self._note(f"{self.folder / row.name}: this stored entry is not used, because {stored}")
        return None

    @cached_property
    def _images(self) -> frozenset[str]:
        """The images that have entries. Asking the files once per image would be quadratic."""
        return frozenset().union(*self._files.ask_each(lambda d: d.images()))

    def _note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)

    @property
    def _files(self) -> Databases:
        with self._locked():
            return self._databases

    def _locked(self) -> RLock:
        """The lock. What a forked process inherits it neither uses nor closes."""
        if self._process != os.getpid():
            _inherited.append(self._databases)
            self._begin()
        return self._lock
