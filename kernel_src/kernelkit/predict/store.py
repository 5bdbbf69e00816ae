"""Finished masks on disk, so that an interrupted run goes on where it was.

A mask is kept under a key of the image, the recipe and the weights: any of them changed, and it is
predicted anew.
"""

import hashlib
from pathlib import Path

from kernelkit.errors import KernelKitError
from kernelkit.files import replace_atomically
from kernelkit.mask import BitMask

__all__ = ["MaskStore"]

_PROBE_BYTES = 1 << 20


class MaskStore:
    """A folder of finished masks, one file an image.

    Parameters
    ----------
    folder
        Made when the first mask is saved.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def path(self, image_id: str, image: Path, *fingerprints: str) -> Path:
        """Where the mask of `image` lies when made under `fingerprints` of recipe and weights."""
        key = hashlib.sha256(_image_identity(image))
        for fingerprint in fingerprints:
            key.update(fingerprint.encode())
        # an id may hold anything, a file name may not
        name = "".join(c if c.isalnum() or c in "-_." else "_" for c in image_id)
        return self.folder / f"{name}-{key.hexdigest()[:16]}.mask"

    def picture_path(self, path: Path) -> Path:
        """Where a picture lies that belongs to the mask at `path`."""
        return path.with_suffix(".png")

    def load(self, path: Path) -> BitMask | None:
        """The mask at `path`, or None where there is none or the file is damaged."""
        if not path.is_file():
            return None
        try:
            return BitMask.load(path)
        except (KernelKitError, OSError, ValueError):
            return None

    def save(self, path: Path, mask: BitMask) -> None:
        """Write a mask; the file appears only once it is complete."""
        with replace_atomically(path) as unfinished:
            mask.save(unfinished)


def _image_identity(image: Path) -> bytes:
    """Size, first and last megabyte: reading gigabytes only to name them would cost minutes."""
    size = image.stat().st_size
    with image.open("rb") as file:
        start = file.read(_PROBE_BYTES)
        file.seek(max(0, size - _PROBE_BYTES))
        return f"{size}:".encode() + start + file.read(_PROBE_BYTES)
