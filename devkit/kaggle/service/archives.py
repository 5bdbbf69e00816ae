"""Files that Kaggle compressed for its storage."""

import zipfile
from pathlib import Path

from devkit.errors import KaggleError
from kernelkit.errors import KernelKitError
from kernelkit.files import DAMAGED_ARCHIVE

__all__ = ["unpack_download"]

# in bytes, of a manifest that Kaggle compressed
_LARGEST_DOWNLOAD = 64 * 2**20


def unpack_download(folder: Path) -> Path | None:
    """Find the one file that was fetched into `folder`, or return None.

    What Kaggle compressed for its storage comes as a zip archive, under one name or another. It is
    unpacked in its place.

    Raises
    ------
    KaggleError
        It is an archive that is damaged, or that does not hold one file of at most 64 MiB.
    """
    path = next(iter(sorted(folder.iterdir())), None)
    if path is None or not zipfile.is_zipfile(path):
        return path
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) != 1:
                raise KaggleError(
                    f"{path.name} came from Kaggle as an archive of {len(members)} files, wanted "
                    "one. Look at it on kaggle.com"
                )
            with archive.open(members[0]) as file:
                content = file.read(_LARGEST_DOWNLOAD + 1)
    except KernelKitError:
        raise
    except (OSError, *DAMAGED_ARCHIVE) as error:
        raise KaggleError(
            f"{path.name} came from Kaggle as a damaged archive. Run the same command again"
        ) from error
    if len(content) > _LARGEST_DOWNLOAD:
        raise KaggleError(
            f"{path.name} came from Kaggle as an archive of more than "
            f"{_LARGEST_DOWNLOAD >> 20} MiB. That is no manifest. Look at it on kaggle.com"
        )
    path.write_bytes(content)
    return path
