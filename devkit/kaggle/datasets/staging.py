"""A dataset folder made ready for the official client: short paths, flat, the right metadata.

The client names the state of an upload that can be resumed after the file's whole path. So the
path must not be too long (it dies with "File name too long") nor differ from one attempt to the
next, and the state must lie where other users of the machine cannot read it.
"""

import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from devkit.errors import DatasetError

__all__ = ["staged", "temporary_folder"]

_METADATA = "dataset-metadata.json"
# of a file name, on any file system of Linux
_LONGEST_NAME = 255


@contextlib.contextmanager
def staged(folder: Path, ref: str, state: Path) -> Iterator[Path]:
    """A folder below `state` with links to the files of `folder` and metadata for `ref`.

    Raises
    ------
    DatasetError
        There is a folder in it, which the client would leave out, or a path is too long.
    """
    state.mkdir(parents=True, exist_ok=True)
    state.chmod(0o700)
    stage = state / "stage" / hashlib.sha256(ref.encode()).hexdigest()[:8]
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir(parents=True)
    try:
        for path in sorted(folder.iterdir()):
            if path.name != _METADATA:
                _link(path, stage / path.name)
        metadata = json.dumps(_metadata(folder / _METADATA, ref), indent=1)
        (stage / _METADATA).write_text(metadata, encoding="utf-8")
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


@contextlib.contextmanager
def temporary_folder(folder: Path) -> Iterator[None]:
    """Make `folder` the one for temporary files, which is where the client keeps its state."""
    before = tempfile.tempdir
    tempfile.tempdir = str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before


def _link(path: Path, link: Path) -> None:
    if not path.is_file():
        raise DatasetError(
            f"{path} is a folder, and the client leaves folders out: make the dataset flat"
        )
    if len(str(link).encode()) + len(".json") > _LONGEST_NAME:
        raise DatasetError(
            f"{link} is too long a path for the client, which takes {_LONGEST_NAME} bytes: set "
            "state in kaggle.toml to a shorter folder"
        )
    link.symlink_to(path.resolve())


def _metadata(path: Path, ref: str) -> dict[str, Any]:
    """The dataset's metadata as it was built, under the name that the settings give it."""
    built: dict[str, Any] = {"licenses": [{"name": "other"}]}
    if path.is_file():
        try:
            built |= json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            raise DatasetError(f"{path}: not JSON; build the dataset again") from None
    return {"title": ref.split("/")[1]} | built | {"id": ref}
