"""Work that is done once: kept under a key of all that it depends on, swapped in when complete."""

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from kernelkit.files import file_sha256, open_atomically, replace_folder

__all__ = ["Stage", "fingerprint"]


def fingerprint(sources: Iterable[Path], *values: object) -> str:
    """A short hash of the bytes of source files and of the `repr` of values."""
    digest = hashlib.sha256()
    for source in sources:
        digest.update(bytes.fromhex(file_sha256(source)))
    for value in values:
        digest.update(repr(value).encode())
    return digest.hexdigest()[:16]


@dataclass
class _Record:
    """What a finished step leaves: its key, and the sizes of its files."""

    key: str
    files: dict[str, int]


_RECORD = TypeAdapter(_Record)


class Stage:
    """One step of a preparation, whose files lie in `out` among those of other steps.

    The record of a finished step, its key and its files with their sizes, is written last. So an
    interrupted step, a changed key and a file that somebody deleted all mean: do it again.

    Parameters
    ----------
    out
        The folder.
    name
        The step's name.
    key
        A hash of all that the step depends on.
    """

    def __init__(self, out: Path, name: str, key: str) -> None:
        self.out = out
        self.key = key
        self._record = out / ".stages" / f"{name}.json"
        self._draft = out / ".stages" / f"{name}.draft"

    def is_done(self) -> bool:
        """Whether the files of this very key are all there."""
        try:
            record = _RECORD.validate_json(self._record.read_bytes())
            sizes = {name: (self.out / name).stat().st_size for name in record.files}
        except (OSError, ValueError):
            return False
        return record.key == self.key and sizes == record.files

    @contextmanager
    def draft(self) -> Iterator[Path]:
        """Give an empty folder to fill. If nothing was raised, its content replaces that of `out`.

        Only what has the same name is replaced. A kill leaves the old or the new there.
        """
        _remove(self._draft)
        self._draft.mkdir(parents=True)
        yield self._draft
        files = {
            str(path.relative_to(self._draft)): path.stat().st_size
            for path in sorted(self._draft.rglob("*"))
            if path.is_file()
        }
        _remove(self._record)
        for entry in self._draft.iterdir():
            replace_folder(entry, self.out / entry.name)
        _remove(self._draft)  # with what was there before
        with open_atomically(self._record) as record:
            json.dump({"key": self.key, "files": files}, record, indent=1)


def _remove(path: Path) -> None:
    """Remove a file, a link or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
