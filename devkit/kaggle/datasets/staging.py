"""A dataset folder made ready for the official client: short paths, flat, the right metadata.

The client can resume an upload. It keeps the state in a file whose name holds the whole path of the
uploaded file. So the path must be the same at each attempt. It must be short, or the client dies
with "File name too long". The state must lie where other users of the machine cannot read it.
"""

import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import JsonValue, TypeAdapter, ValidationError

from devkit.errors import DatasetError
from devkit.kaggle.datasets.limits import upload_problems
from devkit.kaggle.outputs import writing

__all__ = ["check_files", "staged", "temporary_folder"]

_METADATA = "dataset-metadata.json"
_METADATA_FORM = TypeAdapter(dict[str, JsonValue])
# in bytes, of a file name on any file system of Linux
_LONGEST_NAME = 255


@contextlib.contextmanager
def staged(folder: Path, ref: str, state: Path) -> Iterator[Path]:
    """Make a folder below `state` with links to the files of `folder` and metadata for `ref`.

    Parameters
    ----------
    folder
        The dataset as it was built.
    ref
        The dataset on Kaggle, `owner/slug`.
    state
        The folder for the state of uploads.

    Raises
    ------
    DatasetError
        A path is too long.
    OutputError
        `state` cannot be written to.
    """
    stage = state / "stage" / hashlib.sha256(ref.encode()).hexdigest()[:8]
    metadata = json.dumps(_metadata(folder / _METADATA, ref), indent=1)
    try:
        with writing(state, "state"):
            state.mkdir(parents=True, exist_ok=True)
            state.chmod(0o700)
            shutil.rmtree(stage, ignore_errors=True)
            stage.mkdir(parents=True)
            for path in sorted(folder.iterdir()):
                if path.name != _METADATA:
                    _link(path, stage / path.name)
            (stage / _METADATA).write_text(metadata, encoding="utf-8")
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


@contextlib.contextmanager
def temporary_folder(folder: Path) -> Iterator[None]:
    """Make `folder` the one for temporary files. The client keeps its state there."""
    before = tempfile.tempdir
    tempfile.tempdir = str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before


def check_files(folder: Path) -> None:
    """Refuse a dataset that the upload would change, cut short or reject.

    Raises
    ------
    DatasetError
        It holds a folder, or a link that leads nowhere. Or it holds too much, or what would be
        renamed or unpacked.
    """
    entries = sorted(path for path in folder.iterdir() if path.name != _METADATA)
    for path in entries:
        if path.is_dir():
            raise DatasetError(
                f"{path} is a folder, and Kaggle's client leaves folders out. Make the dataset flat"
            )
        if not path.is_file():
            raise DatasetError(f"{path} is a link that leads nowhere. Build the dataset again")
    if problems := upload_problems(entries):
        raise DatasetError(
            f"{folder} cannot be uploaded. {'. '.join(problems)}. Build the dataset again"
        )


def _link(path: Path, link: Path) -> None:
    if len(str(link).encode()) + len(".json") > _LONGEST_NAME:
        raise DatasetError(
            f"{link} is too long a path for Kaggle's client, which takes {_LONGEST_NAME} bytes. "
            "Set state in kaggle.toml to a shorter folder"
        )
    link.symlink_to(path.resolve())


def _metadata(path: Path, ref: str) -> dict[str, Any]:
    """Read the dataset's metadata as it was built, and give it the name from the settings."""
    built: dict[str, Any] = {"licenses": [{"name": "other"}]}
    if path.exists():
        try:
            built |= _METADATA_FORM.validate_json(path.read_bytes())
        except OSError as error:
            raise DatasetError(
                f"{path}: it cannot be read ({error.strerror}). Build the dataset again"
            ) from None
        except ValidationError:
            raise DatasetError(
                f"{path}: it is not a JSON object. Build the dataset again"
            ) from None
    built.pop("kernelkit", None)  # a note of its own, which the client does not know
    return {"title": ref.split("/")[1]} | built | {"id": ref}
