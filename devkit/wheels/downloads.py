"""Fetch locked wheels for the image: by pip, for its tags, checked against the lock, and kept."""

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from devkit.errors import WheelError
from devkit.image.profiles import Profile
from devkit.tools import REPOSITORY, run_tool
from devkit.wheels.lock import LockedWheel
from devkit.wheels.wheelfile import Wheel, check_wheel, read_wheel
from kernelkit.files import file_sha256

__all__ = ["DOWNLOADS", "LOCAL_WHEELS", "WheelSource", "fetch"]

DOWNLOADS = REPOSITORY / "wheels" / "downloads"
LOCAL_WHEELS = REPOSITORY / "wheels" / "local"


@dataclass(frozen=True)
class WheelSource:
    """Where wheels come from: the registry, unless `no_index`, and folders of one's own."""

    folders: tuple[Path, ...] = ()
    no_index: bool = False

    def __post_init__(self) -> None:
        for folder in self.folders:
            if not folder.is_dir():
                raise WheelError(f"{folder}: there is no such folder of wheels")

    @classmethod
    def default(cls) -> "WheelSource":
        """The registry, and `wheels/local/` where it exists."""
        return cls(folders=(LOCAL_WHEELS,) if LOCAL_WHEELS.is_dir() else ())

    @property
    def options(self) -> list[str]:
        """As pip and uv both understand them."""
        found = [word for folder in self.folders for word in ("--find-links", str(folder))]
        return [*found, "--no-index"] if self.no_index else found

    def local_wheels(self) -> list[Path]:
        """The wheels in the folders, sorted by name."""
        return sorted(wheel for folder in self.folders for wheel in folder.glob("*.whl"))


def fetch(
    locked: Sequence[LockedWheel],
    profile: Profile,
    source: WheelSource,
    downloads: Path = DOWNLOADS,
) -> list[Wheel]:
    """The locked wheels, from `downloads` where their hashes fit, else fetched into it.

    Raises
    ------
    WheelError
        A wheel is not one that the image can install, or none was found with the locked hash.
    ToolError
        When pip fails.
    """
    downloads.mkdir(parents=True, exist_ok=True)
    missing = [wheel for wheel in locked if not _is_there(wheel, downloads)]
    if missing:
        _download(missing, profile, source, downloads)
    wheels = [read_wheel(downloads / wheel.file) for wheel in locked]
    for wheel in wheels:
        check_wheel(wheel, profile)
    return wheels


def _is_there(wheel: LockedWheel, downloads: Path) -> bool:
    path = downloads / wheel.file
    return path.is_file() and file_sha256(path) == wheel.sha256


def _download(
    missing: Sequence[LockedWheel], profile: Profile, source: WheelSource, downloads: Path
) -> None:
    with tempfile.TemporaryDirectory(dir=downloads, prefix=".fetching-") as folder:
        wanted = Path(folder) / "wanted.txt"
        wanted.write_text("".join(f"{wheel.requirement}\n" for wheel in missing))
        run_tool(
            [
                *(sys.executable, "-m", "pip", "download", "--disable-pip-version-check"),
                *("--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes"),
                *("--implementation", "cp", "--python-version", profile.markers["python_version"]),
                *(word for tag in profile.platforms for word in ("--platform", tag)),
                *source.options,
                *("--dest", folder, "--requirement", wanted),
            ]
        )
        for wheel in missing:
            fetched = Path(folder) / wheel.file
            if not fetched.is_file():
                raise WheelError(f"{wheel.file} was locked, but pip fetched another file for it")
            fetched.replace(downloads / wheel.file)
