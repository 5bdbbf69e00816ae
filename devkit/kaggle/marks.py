"""What the builder notes of a dataset in its folder. The notes stay at home.

They lie in the client's own file, `dataset-metadata.json`, below `kernelkit`. They say whether the
dataset was proved, what it was made from, and by which command. So a push can tell whether that has
changed since, and how the dataset is built again.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, StrictStr, ValidationError

from kernelkit.errors import OwnCodeError
from kernelkit.files import file_sha256
from kernelkit.own import OwnCode
from kernelkit.vocabulary import Prefer

__all__ = ["CLIENT_FILE", "FileMark", "Marks", "Source", "WeightsSource", "What", "read_marks"]

CLIENT_FILE = "dataset-metadata.json"

What = Literal["kernelkit", "own code", "recipes", "requirements", "own wheels", "profile and lock"]


class Source(BaseModel):
    """A folder or file that a dataset was made from.

    Attributes
    ----------
    what
        What it holds.
    place
        Where it lies.
    sha256
        A hash of the names and contents of its files.
    is_given
        Whether the command that built the dataset named it, and no settings do.
    """

    model_config = ConfigDict(frozen=True)

    what: What
    place: Path
    sha256: StrictStr
    is_given: bool = False

    @classmethod
    def at(cls, what: What, place: Path, *, is_given: bool = False) -> Self:
        """The source as it is now."""
        place = place.resolve()
        return cls(what=what, place=place, sha256=_hash(what, place), is_given=is_given)

    @property
    def has_changed(self) -> bool:
        """Whether its files are no longer those that the dataset was made from."""
        return _hash(self.what, self.place) != self.sha256


class FileMark(BaseModel):
    """A file as it was.

    Attributes
    ----------
    size
        Its bytes.
    mtime_ns
        When it was written.
    sha256
        The hash of its content.
    """

    model_config = ConfigDict(frozen=True)

    size: int
    mtime_ns: int
    sha256: StrictStr

    @classmethod
    def of(cls, path: Path) -> Self:
        """The file as it is now."""
        found = path.stat()
        return cls(size=found.st_size, mtime_ns=found.st_mtime_ns, sha256=file_sha256(path))

    def is_of(self, path: Path) -> bool:
        """Whether a file is still the same. It is read only if its time is another one."""
        try:
            found = path.stat()
            if (found.st_size, found.st_mtime_ns) == (self.size, self.mtime_ns):
                return True
            return found.st_size == self.size and file_sha256(path) == self.sha256
        except OSError:  # a training has just replaced it
            return False


class WeightsSource(BaseModel):
    """The files of trained runs that a dataset of weights was made from.

    Attributes
    ----------
    folder
        The models folder.
    files
        By run, and by place below the run's folder.
    """

    model_config = ConfigDict(frozen=True)

    folder: Path
    files: dict[str, dict[str, FileMark]]


class Marks(BaseModel):
    """The notes.

    Attributes
    ----------
    proved
        The fingerprint of the dataset that was installed and imported in the image's twin.
    sources
        What a kernel dataset was made from. None if it does not say so.
    checkpoints
        Which checkpoints of each run a dataset of weights has, in the words of recipes. None if it
        does not say so.
    weights
        What a dataset of weights was made from. None if it does not say so.
    made_by
        The command that built it, as it can be pasted. Empty if it does not say so.
    """

    model_config = ConfigDict(frozen=True)

    proved: StrictStr = ""
    sources: tuple[Source, ...] | None = None
    checkpoints: dict[str, tuple[Prefer, ...]] | None = None
    weights: WeightsSource | None = None
    made_by: StrictStr = ""


class _Metadata(BaseModel):
    kernelkit: Marks = Marks()


def read_marks(folder: Path) -> Marks:
    """Read the notes in a dataset's folder. There are none in a file of another form."""
    try:
        return _Metadata.model_validate_json((folder / CLIENT_FILE).read_bytes()).kernelkit
    except (ValidationError, OSError):
        return Marks()


def _hash(what: What, place: Path) -> str:
    """The hash of what lies there. A file that cannot be read counts as one without a content."""
    digest = hashlib.sha256()
    try:
        for path in _FILES[what](place):
            digest.update(f"{os.path.relpath(path, place)} {_content(path)}\n".encode())
    except (OSError, OwnCodeError):
        return ""
    return digest.hexdigest()


def _content(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError:
        return "nothing"


def _kernelkit_files(place: Path) -> Iterator[Path]:
    """The package in `kernel_src`, the modules that go beside it, and what makes its wheel."""
    yield from (
        place / name
        for name in (
            *("bootstrap.py", "mounted.py"),
            *("build_backend.py", "pyproject.toml", "../LICENSE"),
        )
    )
    for path in sorted((place / "kernelkit").rglob("*")):
        parts = path.relative_to(place).parts
        is_left_out = any(part.startswith(".") or part == "__pycache__" for part in parts)
        if path.is_file() and not is_left_out and path.suffix not in (".pyc", ".pyo"):
            yield path


def _own_files(place: Path) -> Iterator[Path]:
    code = OwnCode.below(place)
    yield from (path for module in code.modules for path in code.files(module))


def _profile_files(place: Path) -> Iterator[Path]:
    """What an image has, and the lock of what it lacks. The twin's own lock is for proofs alone."""
    yield from (path for path in sorted(place.iterdir()) if path.name != "pylock.twin.toml")


_FILES: Mapping[What, Callable[[Path], Iterator[Path]]] = {
    "kernelkit": _kernelkit_files,
    "own code": _own_files,
    "recipes": lambda place: iter(sorted(place.glob("*.yaml"))),
    "requirements": lambda place: iter([place]),
    "own wheels": lambda place: iter(sorted(place.glob("*.whl"))),
    "profile and lock": _profile_files,
}
