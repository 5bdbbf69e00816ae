"""What Kaggle refuses or mangles in an upload, checked before anything is uploaded.

The bounds of files and sizes are the site's. What happens to names and archives was seen by users.
"""

import re
import shutil
import unicodedata
from pathlib import Path

from devkit.dataset.listing import CLIENT_FILE, Listing
from devkit.errors import DatasetError
from kernelkit.files import replace_folder

__all__ = ["check_beforehand", "check_upload", "replace_dataset", "safe_name"]

_MOST_FILES = 50
_MOST_BYTES = 200 * 10**9
_SAFE = re.compile(r"[A-Za-z0-9._-]+")
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")


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
    if len(entries) > _MOST_FILES:
        problems.append(f"{len(entries)} files lie at the top, Kaggle takes {_MOST_FILES}")
    total = sum(path.stat().st_size for path in entries if path.is_file())
    if total > _MOST_BYTES:
        problems.append(f"it holds {total / 1e9:.0f} GB, Kaggle takes {_MOST_BYTES / 1e9:.0f}")
    lowered: dict[str, str] = {}
    for path in entries:
        if path.is_dir():
            problems.append(f"{path.name} is a folder, which the client leaves out")
        elif not _SAFE.fullmatch(path.name):
            problems.append(f"{path.name} would be renamed by the upload")
        elif path.name.lower().endswith(_ARCHIVES):
            problems.append(f"{path.name} would be unpacked by the upload")
        elif path.name.lower() in lowered:
            problems.append(f"{path.name} and {lowered[path.name.lower()]} differ only in case")
        lowered[path.name.lower()] = path.name
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
