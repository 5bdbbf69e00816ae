"""What the builder notes of a dataset in its folder. The notes stay at home.

They lie in the client's own file, `dataset-metadata.json`, below `kernelkit`. They say whether the
dataset was proved, and what it was made from. So a push can tell whether that has changed since.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, StrictStr, ValidationError

from kernelkit.errors import OwnCodeError
from kernelkit.files import file_sha256
from kernelkit.own import OwnCode

__all__ = ["CLIENT_FILE", "Marks", "Source", "read_marks"]

CLIENT_FILE = "dataset-metadata.json"

What = Literal["kernelkit", "own code", "recipes", "requirements"]


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
    """

    model_config = ConfigDict(frozen=True)

    what: What
    place: Path
    sha256: StrictStr

    @classmethod
    def at(cls, what: What, place: Path) -> "Source":
        """The source as it is now."""
        return cls(what=what, place=place.resolve(), sha256=_hash(what, place.resolve()))

    @property
    def has_changed(self) -> bool:
        """Whether its files are no longer those that the dataset was made from."""
        return _hash(self.what, self.place) != self.sha256


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
    """

    model_config = ConfigDict(frozen=True)

    proved: StrictStr = ""
    sources: tuple[Source, ...] | None = None
    checkpoints: dict[str, tuple[StrictStr, ...]] | None = None


class _Metadata(BaseModel):
    kernelkit: Marks = Marks()


def read_marks(folder: Path) -> Marks:
    """Read the notes in a dataset's folder. There are none in a file of another form."""
    try:
        return _Metadata.model_validate_json((folder / CLIENT_FILE).read_bytes()).kernelkit
    except (ValidationError, OSError):
        return Marks()


def _hash(what: What, place: Path) -> str:
    """The hash of what lies there. Of what cannot be read, it is that of nothing."""
    digest = hashlib.sha256()
    try:
        for path in _FILES[what](place):
            name = path.relative_to(place).as_posix()
            digest.update(f"{name} {file_sha256(path)}\n".encode())
    except (OSError, OwnCodeError):
        return ""
    return digest.hexdigest()


def _kernelkit_files(place: Path) -> Iterator[Path]:
    """The package in `kernel_src`, and the modules that go beside it."""
    yield from (place / name for name in ("bootstrap.py", "mounted.py", "pyproject.toml"))
    for path in sorted((place / "kernelkit").rglob("*")):
        parts = path.relative_to(place).parts
        is_left_out = any(part.startswith(".") or part == "__pycache__" for part in parts)
        if path.is_file() and not is_left_out and path.suffix not in (".pyc", ".pyo"):
            yield path


def _own_files(place: Path) -> Iterator[Path]:
    code = OwnCode.below(place)
    yield from (path for module in code.modules for path in code.files(module))


_FILES: Mapping[What, Callable[[Path], Iterator[Path]]] = {
    "kernelkit": _kernelkit_files,
    "own code": _own_files,
    "recipes": lambda place: iter(sorted(place.glob("*.yaml"))),
    "requirements": lambda place: iter([place]),
}
