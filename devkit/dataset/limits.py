"""What Kaggle would refuse or mangle, checked before a dataset takes its place."""

import re
import shutil
import unicodedata
from pathlib import Path

from devkit.dataset.listing import CLIENT_FILE, Listing
from devkit.errors import DatasetError
from devkit.kaggle.datasets.limits import upload_problems
from kernelkit.files import replace_folder

__all__ = ["check_beforehand", "check_upload", "replace_dataset", "safe_name"]


def safe_name(name: str) -> str:
    """Return `name` in characters that survive an upload, as near as they come.

    >>> safe_name("torch-2.0+cu128-py3-none-any.whl")
    'torch-2.0_cu128-py3-none-any.whl'
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9._-]+", "_", plain)


def check_upload(folder: Path, listing: Listing) -> None:
    """Refuse a folder that the upload would change, cut short or reject.

    Raises
    ------
    DatasetError
        It names all that is wrong.
    """
    problems = listing.problems()
    entries = sorted(path for path in folder.iterdir() if path.name != CLIENT_FILE)
    problems += upload_problems(entries)
    if problems:
        raise DatasetError(f"{folder} cannot be uploaded. {'. '.join(problems)}")


def check_beforehand(folder: Path, listing: Listing) -> None:
    """Refuse what would be refused in the end, before the work for a dataset begins.

    Raises
    ------
    DatasetError
        `folder` is no place for a dataset, or Kaggle would not list it so.
    """
    _check_place(folder)
    if problems := listing.problems():
        raise DatasetError(f"{folder} would not be listed on Kaggle. {'. '.join(problems)}")


def replace_dataset(staging_folder: Path, folder: Path) -> None:
    """Put the finished dataset `staging_folder` in the place of `folder`. Its old contents go.

    Raises
    ------
    DatasetError
        `folder` holds something that is not a dataset, or is a file or a link.
    """
    _check_place(folder)
    replace_folder(staging_folder, folder)
    shutil.rmtree(staging_folder, ignore_errors=True)


def _check_place(folder: Path) -> None:
    """Refuse a place where something else lies than a dataset."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        found = "a link" if folder.is_symlink() else "a file"
        raise DatasetError(f"{folder} is {found}, wanted a folder. Choose another folder")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / CLIENT_FILE).is_file():
        raise DatasetError(f"{folder} is neither empty nor a dataset. Choose another folder")
