"""A competition's files, fetched from Kaggle and unpacked at home.

Kaggle sends them as one archive. An interrupted download goes on where it was. The archive comes
from outside, so its names are not trusted: each file stays inside the folder, and links are
refused.
"""

import shutil
import stat
import zipfile
import zlib
from pathlib import Path

from devkit.bars import bar
from devkit.errors import KaggleError
from devkit.kaggle.outputs import writing
from devkit.kaggle.service.client import Client
from kernelkit.errors import KernelKitError
from kernelkit.files import DAMAGED_ARCHIVE, open_atomically, replace_atomically
from mounted import is_inside

__all__ = ["download_competition"]

_PIECE = 1 << 20


def download_competition(client: Client, folder: Path) -> int:
    """Fetch the files of the settings' competition, and unpack them.

    The same call again goes on where it was. What is complete is not fetched again.

    Parameters
    ----------
    client
        The client, signed in.
    folder
        Where the files go.

    Returns
    -------
    How many files the competition has.

    Raises
    ------
    KaggleError
        Kaggle refused it, the archive is damaged, or it names a file outside of the folder.
    OutputError
        The folder cannot be written.
    """
    slug = client.settings.competition
    done = folder / f".{slug}-is-complete"
    with writing(folder, "OUTPUT"):
        if done.is_file():
            (folder / f"{slug}.zip").unlink(missing_ok=True)  # of a run that was killed before
            client.say(f"{folder} is complete. Remove {done} to fetch it again")
            noted = done.read_bytes().strip()
            return int(noted) if noted.isdigit() else 0
        folder.mkdir(parents=True, exist_ok=True)
        archive = _fetched(client, slug, folder)
        count = _unpack(archive, folder)
        with open_atomically(done) as file:
            file.write(str(count))
        archive.unlink()
    return count


def _fetched(client: Client, slug: str, folder: Path) -> Path:
    """The archive, whole. The client notes what it has fetched of it beside it."""
    client.do(
        f"fetch the files of {slug}",
        lambda api: api.competition_download_files(slug, str(folder), quiet=False),
        client.settings.upload_seconds,
    )
    archive = folder / f"{slug}.zip"
    if not archive.is_file():
        found = ", ".join(sorted(path.name for path in folder.glob(f"{slug}.*"))) or "nothing"
        raise KaggleError(f"{folder}: Kaggle sent {found} of {slug}, wanted {archive.name}")
    return archive


def _unpack(archive: Path, folder: Path) -> int:
    try:
        with zipfile.ZipFile(archive) as packed:
            members = [member for member in packed.infolist() if not member.is_dir()]
            _refuse_unsafe(archive, members, folder)
            for member in bar(members, description="unpacking", unit="file"):
                target = folder / member.filename
                if _is_there(target, member):
                    continue
                with (
                    packed.open(member) as source,
                    replace_atomically(target) as unfinished,
                    unfinished.open("wb") as file,
                ):
                    shutil.copyfileobj(source, file, _PIECE)
    except KernelKitError:
        raise
    except DAMAGED_ARCHIVE as error:
        raise KaggleError(
            f"{archive}: the archive is damaged ({error}). Remove it, and run the same "
            "command again"
        ) from error
    return len(members)


def _refuse_unsafe(archive: Path, members: list[zipfile.ZipInfo], folder: Path) -> None:
    """Refuse what would be written outside of the folder, or not fit on the disk."""
    for member in members:
        if not is_inside(member.filename):
            raise KaggleError(
                f"{archive}: it names {member.filename!r:.80}, outside of its folder. Nothing was "
                "unpacked"
            )
        if stat.S_ISLNK(member.external_attr >> 16):
            raise KaggleError(
                f"{archive}: {member.filename!r:.80} in it is a link, which could lead anywhere. "
                "Nothing was unpacked"
            )
    wanted, free = sum(member.file_size for member in members), shutil.disk_usage(folder).free
    if wanted > free:
        raise KaggleError(
            f"{archive}: its files take {wanted / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free in "
            f"{folder}. Make room, or choose another folder as OUTPUT"
        )


def _is_there(target: Path, member: zipfile.ZipInfo) -> bool:
    """Whether a file was unpacked already, by its size and its checksum."""
    if not target.is_file() or target.stat().st_size != member.file_size:
        return False
    checksum = 0
    with target.open("rb") as file:
        while piece := file.read(_PIECE):
            checksum = zlib.crc32(piece, checksum)
    return checksum == member.CRC
