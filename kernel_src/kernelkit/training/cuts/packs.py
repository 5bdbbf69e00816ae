"""Files that hold the arrays of many images, each with a table of contents at its end.

A file is written under another name and renamed once it is whole. So a killed run leaves whole
files alone, and goes on after them. Zeros of whole blocks are not written: they are holes of the
file, and take no room.
"""

import errno
import json
import os
import struct
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kernelkit.errors import OutputError
from kernelkit.training.cuts.blocks import BlockArray

__all__ = ["PackSeries", "PackWriter", "Record", "read_packs", "remove_unfinished"]

SUFFIX = ".pack"
# What has not been renamed yet.
_UNFINISHED = ".unfinished"
# The last bytes of a file: how long its table of contents is, and what kind of file it is.
_END = struct.Struct("<Q8s")
_MAGIC = b"kkcuts01"
# A file of so many bytes is finished before the next image. A large image has one of its own.
_PACK_BYTES = 64 << 20
# Where an array may begin, so that every dtype is aligned.
_ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class Record:
    """What the cuts hold of one image, or of its labels.

    Attributes
    ----------
    key
        A hash of all that the bytes depend on.
    arrays
        By name: `pixels` and perhaps `missing`, or `labels`.
    facts
        What else is known of the image, as JSON has it.
    """

    key: str
    arrays: Mapping[str, BlockArray]
    facts: Mapping[str, Any] = field(default_factory=dict)


class PackWriter(AbstractContextManager):
    """A file that is being written. It appears under its own name when `finish` is called.

    Parameters
    ----------
    folder
        Where it is to lie.

    Raises
    ------
    OutputError
        It cannot be written: the disk is full, or the folder cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file, name = tempfile.mkstemp(_UNFINISHED, "", folder)
        except OSError as error:
            raise _unwritable(folder, error) from error
        self._path = Path(name)
        self._length = 0
        self._records: list[Record] = []

    @property
    def length(self) -> int:
        """The bytes so far."""
        return self._length

    def begin(
        self, shape: tuple[int, int, int], dtype: np.dtype, block: tuple[int, int]
    ) -> BlockArray:
        """Set room aside for an array (C, H, W). What is not written of it is zero."""
        offset = -(-self._length // _ALIGNMENT) * _ALIGNMENT
        array = BlockArray(self._path, offset, shape, dtype.name, block)
        self._length = offset + array.nbytes
        return array

    def write(self, array: BlockArray, first: int, blocks: np.ndarray) -> None:
        """Write blocks (n, C, block height, block width) of an array, from number `first` on."""
        for number, block in enumerate(blocks, first):
            if block.any():
                place = array.offset + number * array.block_bytes
                self._write(np.ascontiguousarray(block).data.cast("B"), place)

    def cut_off(self, length: int) -> None:
        """Take back all but the first bytes."""
        os.ftruncate(self._file, length)
        self._length = length

    def add(self, record: Record) -> None:
        """Enter a record whose arrays have been written."""
        self._records.append(record)

    def finish(self) -> list[Record]:
        """Write the table of contents, and give the file its name. Return what it holds."""
        contents = json.dumps([_as_json(record) for record in self._records]).encode()
        self._write(contents, self._length)
        self._write(_END.pack(len(contents), _MAGIC), self._length + len(contents))
        path = self._path.with_suffix(SUFFIX)
        try:
            os.fsync(self._file)
            self._path.chmod(0o644)
            self._path.rename(path)
        except OSError as error:
            raise _unwritable(self._folder, error) from error
        return [_moved(record, path) for record in self._records]

    def __exit__(self, *_: object) -> None:
        os.close(self._file)
        self._path.unlink(missing_ok=True)

    def _write(self, content: bytes | memoryview, place: int) -> None:
        view = memoryview(content)
        try:
            while view:
                written = os.pwrite(self._file, view, place)
                view, place = view[written:], place + written
        except OSError as error:
            raise _unwritable(self._folder, error) from error


class PackSeries(AbstractContextManager):
    """Files that are written one after the other. Each is finished once it is large enough.

    What an error leaves unfinished is thrown away.

    Parameters
    ----------
    folder
        Where the files lie.
    records
        By key. What is finished is added.
    """

    def __init__(self, folder: Path, records: dict[str, Record]) -> None:
        self._folder, self._records = folder, records
        self._writer: PackWriter | None = None

    @contextmanager
    def adding(self) -> Iterator[PackWriter]:
        """Give the file that the next record goes to. If that fails, the file stays as it was."""
        if self._writer is None:
            self._writer = PackWriter(self._folder)
        mark = self._writer.length
        try:
            yield self._writer
        except Exception:
            self._writer.cut_off(mark)
            raise
        if self._writer.length >= _PACK_BYTES:
            self._finish()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._finish()
        elif self._writer is not None:
            self._writer.__exit__()

    def _finish(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            with writer:
                self._records.update({record.key: record for record in writer.finish()})


def read_packs(folder: Path) -> Iterator[Record]:
    """Iterate over the records of all files in a folder. Files that are no packs are passed over.

    Of two records of one key, either will do.
    """
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        for entry in _contents(path):
            yield _from_json(entry, path)


def remove_unfinished(folder: Path) -> None:
    """Remove what a killed run left behind. Nobody may be writing."""
    for path in folder.glob(f"*{_UNFINISHED}"):
        path.unlink(missing_ok=True)


def _contents(path: Path) -> Sequence[dict[str, Any]]:
    """The table of contents of a file. It is empty if the file is damaged."""
    try:
        with path.open("rb") as file:
            file.seek(-_END.size, os.SEEK_END)
            length, magic = _END.unpack(file.read())
            if magic != _MAGIC:
                return []
            file.seek(-_END.size - length, os.SEEK_END)
            found: Sequence[dict[str, Any]] = json.loads(file.read(length))
    except (OSError, ValueError, struct.error):
        return []
    return found


def _as_json(record: Record) -> dict[str, Any]:
    arrays = {
        name: [array.offset, array.shape, array.dtype, array.block]
        for name, array in record.arrays.items()
    }
    return {"key": record.key, "arrays": arrays, "facts": dict(record.facts)}


def _from_json(entry: Mapping[str, Any], path: Path) -> Record:
    arrays = {
        name: BlockArray(path, offset, (shape[0], shape[1], shape[2]), dtype, (block[0], block[1]))
        for name, (offset, shape, dtype, block) in entry["arrays"].items()
    }
    return Record(entry["key"], arrays, entry["facts"])


def _moved(record: Record, path: Path) -> Record:
    return _from_json(_as_json(record), path)


def _unwritable(folder: Path, error: OSError) -> OutputError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    advice = "Make room there" if full else "Choose another folder"
    return OutputError(
        f"{folder}: the cuts cannot be written there ({error.strerror}). {advice}, and start "
        "again: what is finished stays"
    )
