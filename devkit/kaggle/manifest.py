"""The manifest of a built dataset, whose fingerprint tells one build from another."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StrictStr, StringConstraints, ValidationError

from devkit.errors import DatasetError
from devkit.kaggle.marks import read_marks

__all__ = ["Manifest", "check_proved", "find_manifest", "read_manifest"]


class _Target(BaseModel):
    """What a dataset is made for. A dataset of weights names no profile."""

    model_config = ConfigDict(frozen=True)

    profile: StrictStr = ""


class Manifest(BaseModel):
    """What a manifest says of its dataset. It says more, which the notebook reads.

    Attributes
    ----------
    fingerprint : str
        The hash of the dataset, in hexadecimal.
    target
        What it is made for.
    """

    model_config = ConfigDict(frozen=True)

    fingerprint: Annotated[StrictStr, StringConstraints(pattern=r"^[0-9a-f]{4,128}$")]
    target: _Target = _Target()


def read_manifest(path: Path, build: str) -> Manifest:
    """Read the manifest of a dataset that was built. It has a fingerprint.

    Parameters
    ----------
    path
        The manifest.
    build
        The command that builds the dataset.

    Raises
    ------
    DatasetError
        There is no such file, or no fingerprint in it.
    """
    if not path.is_file():
        raise DatasetError(f"{path}: there is no such file. Build the dataset first, with {build}")
    content = find_manifest(path)
    if content is None:
        raise DatasetError(
            f"{path}: it is not a manifest with a fingerprint. Build the dataset again, with "
            f"{build}"
        )
    return content


def check_proved(folder: Path, manifest: Manifest, build: str) -> None:
    """Refuse a kernel dataset that was never installed and imported in the image's twin.

    Parameters
    ----------
    folder
        The dataset.
    manifest
        What its manifest says.
    build
        The command that builds the dataset.

    Raises
    ------
    DatasetError
        The builder did not note its proof in the folder, or noted that of another dataset.
    """
    if read_marks(folder).proved != manifest.fingerprint:
        raise DatasetError(
            f"{folder}: this dataset was not proved in the twin of {manifest.target.profile}. "
            f"Run {build}"
        )


def find_manifest(path: Path) -> Manifest | None:
    """Read a manifest, or return None if the file is missing or holds no fingerprint."""
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except (ValidationError, OSError):
        return None
