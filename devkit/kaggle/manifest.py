"""The manifest of a built dataset, whose fingerprint tells one build from another."""

import json
from pathlib import Path
from typing import Any

from devkit.errors import DatasetError

__all__ = ["find_manifest", "read_manifest"]


def read_manifest(path: Path) -> dict[str, Any]:
    """Read the manifest of a dataset that was built. It has a fingerprint.

    Raises
    ------
    DatasetError
        There is no such file, or no fingerprint in it.
    """
    if not path.is_file():
        raise DatasetError(
            f"{path}: there is no such file. Build the dataset first, with make kernel-dataset "
            "or make weights-dataset"
        )
    content = find_manifest(path)
    if content is None:
        raise DatasetError(f"{path}: it holds no fingerprint. Build the dataset again")
    return content


def find_manifest(path: Path) -> dict[str, Any] | None:
    """Read a manifest, or return None if the file is missing or holds no fingerprint."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError):
        return None
    return content if isinstance(content, dict) and content.get("fingerprint") else None
