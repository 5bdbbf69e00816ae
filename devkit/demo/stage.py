"""Work that is done once: kept under a key of all that it depends on, swapped in when complete."""

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kernelkit.files import file_sha256, open_atomically

__all__ = ["Stage", "fingerprint"]


def fingerprint(sources: Iterable[Path], *values: object) -> str:
    """A short hash of the bytes of source files and of the `repr` of values."""
    digest = hashlib.sha256()
    for source in sources:
        digest.update(bytes.fromhex(file_sha256(source)))
    for value in values:
        digest.update(repr(value).encode())
    return digest.hexdigest()[:16]


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
            record = json.loads(self._record.read_text())
        except (OSError, ValueError):
            return False
        return record["key"] == self.key and all(
            (self.out / name).is_file() and (self.out / name).stat().st_size == size
            for name, size in record["files"].items()
        )

    @contextmanager
    def draft(self) -> Iterator[Path]:
        """Give an empty folder to fill. If nothing was raised, its content replaces that of `out`.

        Only what has the same name is replaced.
        """
        shutil.rmtree(self._draft, ignore_errors=True)
        self._draft.mkdir(parents=True)
        yield self._draft
        files = {
            str(path.relative_to(self._draft)): path.stat().st_size
            for path in sorted(self._draft.rglob("*"))
            if path.is_file()
        }
        self._record.unlink(missing_ok=True)
        for entry in self._draft.iterdir():
            target = self.out / entry.name
            if target.is_dir():
                shutil.rmtree(target)
            entry.replace(target)
        self._draft.rmdir()
        with open_atomically(self._record) as record:
            json.dump({"key": self.key, "files": files}, record, indent=1)
