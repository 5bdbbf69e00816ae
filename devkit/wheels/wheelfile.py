"""What a wheel is: its tags, what it requires, what it lets one import, which glibc it needs.

All of it is read from the archive. A file's name can promise what its contents do not keep.
"""

import hashlib
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from packaging.metadata import Metadata
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
    version
        As its name says.
    tags
        Of its name. A wheel may carry several.
    requires
        What its metadata asks for, requirements of extras included.
    modules
        The names that can be imported at the top level, sorted.
    glibc_minor
        The newest glibc that its compiled members need, as the 35 of 2.35. 0 if it has none.
    sha256
        Of the file.
    record_sha256
        Of the list of hashes within. It survives that the archive is unpacked.
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
        It is not a wheel: a source distribution, a truncated archive, or without metadata.
    """
    if path.suffix != ".whl":
        raise WheelError(
            f"{path.name} is not a wheel. Kaggle unpacks source archives, and nothing can be built "
            "there offline. Build a wheel of it in the image and put that into wheels/local/"
        )
    try:
        name, version, _, tags = parse_wheel_filename(path.name)
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
            info_folder = _info_folder(members, path)
            # only what we read is checked: many a wheel has a field that is not quite valid
            metadata = Metadata.from_email(archive.read(f"{info_folder}/METADATA"), validate=False)
            return Wheel(
                path=path,
                name=name,
                version=version,
                tags=tags,
                requires=tuple(metadata.requires_dist or ()),
                modules=tuple(sorted(set(_modules(members)))),
                glibc_minor=max(_glibc_minors(archive), default=0),
                sha256=file_sha256(path),
                record_sha256=hashlib.sha256(archive.read(f"{info_folder}/RECORD")).hexdigest(),
            )
    except (InvalidWheelFilename, zipfile.BadZipFile, KeyError, ValueError) as error:
        raise WheelError(
            f"{path} is not a wheel that can be read: {error}. Fetch it again"
        ) from None


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
            f"{profile.glibc}. Ask for a version with an older wheel, or build one in the image"
        )
    if not profile.accepts(wheel.tags):
        raise WheelError(
            f"{wheel.path.name} is for {', '.join(wheel.tag_names)}, but the image {profile.name} "
            f"is CPython {profile.python} on {profile.machine} with glibc {profile.glibc}. "
            "Ask for a version with a wheel for it"
        )


def _info_folder(members: list[str], path: Path) -> str:
    """The folder within the archive that holds METADATA and RECORD."""
    tops = {member.split("/")[0] for member in members if member.count("/")}
    found = [top for top in tops if top.endswith(".dist-info")]
    if len(found) != 1:
        raise WheelError(
            f"{path} has {len(found)} .dist-info folders, but a wheel has one. Fetch it again"
        )
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
