"""What Kaggle refuses or mangles in an upload.

The bounds of files and sizes are the site's. What happens to names and archives was seen by users.
"""

import re
from collections.abc import Sequence
from pathlib import Path

__all__ = ["upload_problems"]

_MOST_FILES = 50
_MOST_BYTES = 200 * 10**9
_SAFE = re.compile(r"[A-Za-z0-9._-]+")
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")


def upload_problems(entries: Sequence[Path]) -> list[str]:
    """Return what the upload would change, cut short or reject, one sentence per problem.

    Parameters
    ----------
    entries
        What lies in the dataset's folder, but for the client's own file.
    """
    problems = []
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
    return problems
