"""What a wheel is: its tags, what it requires, what it lets one import, which glibc it needs.

All of it is read from the archive. A file's name can promise what its contents do not keep.
"""

import hashlib
import re
import stat
import zipfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from packaging.metadata import Metadata
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.tags import Tag
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version

from devkit.errors import WheelError
from devkit.image.profiles import Profile
from kernelkit.files import file_sha256
from mounted import is_inside

__all__ = ["Wheel", "check_wheel", "read_wheel"]

_GLIBC_SYMBOL = re.compile(rb"\0GLIBC_2\.(\d+)")
_MANYLINUX = re.compile(r"manylinux_2_(\d+)_")
# What a project has beside its package, and packs by mistake. It is not what the wheel is for.
_STRAYS = frozenset(
    (
        *("test", "tests", "testing", "conftest", "noxfile", "tasks", "setup", "ez_setup"),
        *("doc", "docs", "demo", "demos", "example", "examples", "sample", "samples", "tutorials"),
        *("benchmark", "benchmarks", "script", "scripts", "tools", "build", "dist", "versioneer"),
    )
)
# how the `__init__.py` of a namespace of the older kinds says so
_SHARES = re.compile(rb"\b(extend_path|declare_namespace)\b")


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
    requires_python
        The versions of Python that its metadata asks for.
    modules
        The names of its own that can be imported at the top level, sorted. Strays such as `tests`
        are left out.
    namespaces
        Those of the modules that other distributions may have a part of.
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
    requires_python: SpecifierSet
    modules: tuple[str, ...]
    namespaces: frozenset[str]
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
            _refuse_outside(archive, path)
            info_folder = _info_folder(members, path)
            # only what we read is checked: many a wheel has a field that is not quite valid
            metadata = Metadata.from_email(archive.read(f"{info_folder}/METADATA"), validate=False)
            modules = _own_modules(members, name)
            return Wheel(
                path=path,
                name=name,
                version=version,
                tags=tags,
                requires=tuple(metadata.requires_dist or ()),
                requires_python=metadata.requires_python or SpecifierSet(),
                modules=modules,
                namespaces=frozenset(_namespaces(archive, modules)),
                glibc_minor=max(_glibc_minors(archive), default=0),
                sha256=file_sha256(path),
                record_sha256=hashlib.sha256(archive.read(f"{info_folder}/RECORD")).hexdigest(),
            )
    except WheelError:
        raise
    except (OSError, EOFError, KeyError, RuntimeError, ValueError, zipfile.BadZipFile) as error:
        # KeyError quotes its sentence
        raise WheelError(
            f"{path} is not a wheel that can be read: {str(error).strip('"')}. Fetch it again"
        ) from None
    except ExceptionGroup as errors:
        raise WheelError(
            f"{path} has metadata that cannot be read: {errors.exceptions[0]}. Fetch it again"
        ) from None


def check_wheel(wheel: Wheel, profile: Profile) -> None:
    """Refuse a wheel that the profile's Python would not install, or could not load.

    Raises
    ------
    WheelError
        Its tags or its metadata are of another Python or platform, or it needs a newer glibc than
        the image has.
    """
    if not wheel.requires_python.contains(profile.python, prereleases=True):
        raise WheelError(
            f"{wheel.path.name} is for Python {wheel.requires_python}, but the image "
            f"{profile.name} has {profile.python}. Ask for another version, or do without it"
        )
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


def _refuse_outside(archive: zipfile.ZipFile, path: Path) -> None:
    for member in archive.infolist():
        is_link = stat.S_ISLNK(member.external_attr >> 16)
        if is_link or not is_inside(member.filename):
            found = "a link" if is_link else "a file outside of it"
            raise WheelError(f"{path} has {found}: {member.filename}. Take another wheel")


def _own_modules(members: list[str], name: str) -> tuple[str, ...]:
    """The importable names at the top of a wheel, without what was packed by mistake."""
    found = {place[0] for place in _places(members)}
    own = {
        name.replace("-", "_"),
        *(module for module in found if canonicalize_name(module) == name),
    }
    meant = {module for module in found if module not in _STRAYS or module in own}
    return tuple(sorted(meant or found))


def _places(members: Collection[str]) -> Iterator[tuple[str, ...]]:
    """Where the Python files of a wheel are installed, wherever its data scheme puts them.

    The last part is the module's name, without a suffix.
    """
    for member in members:
        path = PurePosixPath(member)
        parts = path.parts
        if parts[0].endswith(".data"):
            if len(parts) < 3 or parts[1] not in ("purelib", "platlib"):
                continue
            parts = parts[2:]
        if path.suffix not in (".py", ".so"):
            continue
        place = (*parts[:-1], parts[-1].split(".")[0])
        if place[0].isidentifier() and not place[0].startswith("__"):
            yield place


def _namespaces(archive: zipfile.ZipFile, modules: Collection[str]) -> Iterator[str]:
    """Those of the modules that are folders without code of their own."""
    members = archive.namelist()
    places = set(_places(members))
    for module in modules:
        starts = re.compile(rf"(.*\.data/(purelib|platlib)/)?{re.escape(module)}/__init__\.py")
        start = next((member for member in members if starts.fullmatch(member)), None)
        is_package = (module, "__init__") in places or (module,) in places
        if not is_package or (start and _SHARES.search(archive.read(start))):
            yield module


def _glibc_minors(archive: zipfile.ZipFile) -> Iterator[int]:
    for member in archive.infolist():
        with archive.open(member) as file:
            if file.read(4) == b"\x7fELF":
                yield from map(int, _GLIBC_SYMBOL.findall(file.read()))
