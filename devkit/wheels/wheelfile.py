"""What a wheel is: its tags, what it requires, what it lets one import, which glibc it needs.

All of it is read from the archive, since a file's name can promise what its contents do not keep.
"""

import hashlib
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path, PurePosixPath

from packaging.requirements import Requirement
from packaging.tags import Tag
from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import Version

from devkit.errors import WheelError
from devkit.image.profiles import Profile
from kernelkit.files import file_sha256

__all__ = ["Wheel", "check_wheel", "read_wheel"]

_GLIBC_SYMBOL = re.compile(rb"\0GLIBC_2\.(\d+)")
_MANYLINUX = re.compile(r"manylinux_2_(\d+)_")


@dataclass(frozen=True)
class Wheel:
    """A wheel on disk.

    Attributes
    ----------
    path
        Where it lies, under its original name.
    name
        Canonical: `segmentation-models-pytorch`.
    tags
        Of its name: a wheel may carry several.
    requires
        What its metadata asks for, extras' requirements included.
    modules
        The names that can be imported at the top level, sorted.
    glibc_minor
        The newest glibc that its compiled members link against, as the 35 of 2.35; 0 where none.
    sha256, record_sha256
        Of the file, and of the list of hashes within, which survives the archive being unpacked.
    """

    path: Path
    name: str
    version: Version
    tags: frozenset[Tag]
    requires: tuple[Requirement, ...]
    modules: tuple[str, ...]
    glibc_minor: int
    sha256: str
    record_sha256: str

    @property
    def size(self) -> int:
        """In bytes."""
        return self.path.stat().st_size

    @property
    def tag_names(self) -> list[str]:
        """The tags as text, sorted."""
        return sorted(str(tag) for tag in self.tags)


def read_wheel(path: Path) -> Wheel:
    """Read what there is to know of the wheel `path`.

    Raises
    ------
    WheelError
        When it is not a wheel: a source distribution, a truncated archive, metadata missing.
    """
    if path.suffix != ".whl":
        raise WheelError(
            f"{path.name} is not a wheel: Kaggle unpacks source archives, and nothing can be built "
            "there offline; build a wheel of it in the image and put that into wheels/local/"
        )
    try:
        name, version, _, tags = parse_wheel_filename(path.name)
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
            home = _metadata_folder(members, path)
            metadata = HeaderParser().parsestr(archive.read(f"{home}/METADATA").decode())
            return Wheel(
                path=path,
                name=name,
                version=version,
                tags=tags,
                requires=tuple(Requirement(r) for r in metadata.get_all("Requires-Dist", [])),
                modules=tuple(sorted(set(_modules(members)))),
                glibc_minor=max(_glibc_minors(archive), default=0),
                sha256=file_sha256(path),
                record_sha256=hashlib.sha256(archive.read(f"{home}/RECORD")).hexdigest(),
            )
    except (InvalidWheelFilename, zipfile.BadZipFile, KeyError, ValueError) as error:
        raise WheelError(f"{path}: not a wheel that can be read: {error}; fetch it again") from None


def check_wheel(wheel: Wheel, profile: Profile) -> None:
    """Refuse a wheel that the profile's Python would not install, or could not load.

    Raises
    ------
    WheelError
        Its tags are of another Python or platform, or it needs a newer glibc than the image has.
    """
    asked = [int(m[1]) for tag in wheel.tags if (m := _MANYLINUX.match(tag.platform))]
    needs = max(wheel.glibc_minor, min(asked, default=0))
    if needs > profile.glibc_minor:
        raise WheelError(
            f"{wheel.path.name} needs glibc 2.{needs}, but the image {profile.name} has "
            f"{profile.glibc}; ask for a version with an older wheel, or build one in the image"
        )
    if profile.wheel_rank(wheel.tags) is None:
        raise WheelError(
            f"{wheel.path.name} is for {', '.join(wheel.tag_names)}, but the image {profile.name} "
            f"is CPython {profile.python} on {profile.machine} with glibc {profile.glibc}"
        )


def _metadata_folder(members: list[str], path: Path) -> str:
    homes = {member.split("/")[0] for member in members if member.count("/")}
    found = [home for home in homes if home.endswith(".dist-info")]
    if len(found) != 1:
        raise WheelError(f"{path}: a wheel has one .dist-info folder, this file has {len(found)}")
    return found[0]


def _modules(members: list[str]) -> Iterator[str]:
    """The importable names at the top of a wheel, wherever its data scheme puts them."""
    for member in members:
        parts = PurePosixPath(member).parts
        if parts[0].endswith(".data"):
            if len(parts) < 3 or parts[1] not in ("purelib", "platlib"):
                continue
            parts = parts[2:]
        if PurePosixPath(member).suffix not in (".py", ".so"):
            continue
        name = parts[0].split(".")[0] if len(parts) == 1 else parts[0]
        if name.isidentifier() and not name.startswith("__"):
            yield name


def _glibc_minors(archive: zipfile.ZipFile) -> Iterator[int]:
    for member in archive.infolist():
        with archive.open(member) as file:
            if file.read(4) == b"\x7fELF":
                yield from map(int, _GLIBC_SYMBOL.findall(file.read()))
