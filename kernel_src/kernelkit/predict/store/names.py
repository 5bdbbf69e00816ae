"""Names of entries: an id may hold anything, a file name may not."""

import hashlib
import re

__all__ = ["file_name", "sha256_of"]

_LONGEST_NAME = 80


def file_name(image_id: str) -> str:
    """A name of the image for files.

    Ids that lose a character, or are long, get a hash, so that no two share a name.
    """
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", image_id)[:_LONGEST_NAME]
    if name == image_id:
        return name
    return f"{name}-{sha256_of(image_id)[:8]}"


def sha256_of(text: str) -> str:
    """The hash of a text, in hexadecimal digits. Half of a surrogate pair has one too."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
