"""Fetch locked wheels for the image. pip finds them, the lock's hashes check them, we keep them.

Each is kept as soon as it is whole, so an interrupted command goes on with the others. Within a
wheel, pip itself goes on where a connection broke off.
"""

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from devkit.bars import bar
from devkit.errors import WheelError
from devkit.image.profiles import Profile
from devkit.tools import REPOSITORY, run_tool
from devkit.wheels.lock import LockedWheel
from devkit.wheels.wheelfile import Wheel, read_wheel
from kernelkit.files import file_sha256

__all__ = ["DOWNLOADS", "LOCAL_WHEELS", "WheelSource", "fetch"]

DOWNLOADS = REPOSITORY / "wheels" / "downloads"
LOCAL_WHEELS = REPOSITORY / "wheels" / "local"


@dataclass(frozen=True)
class WheelSource:
    """Where wheels come from.

    Attributes
    ----------
    folders
        Folders with wheels of one's own.
    no_index
        Look into the folders only, and never ask the registry.
    """

    folders: tuple[Path, ...] = ()
    no_index: bool = False

    def __post_init__(self) -> None:
        for folder in self.folders:
            if not folder.is_dir():
                raise WheelError(f"there is no folder {folder} with wheels. Name one that exists")

    @classmethod
    def default(cls) -> "WheelSource":
        """Return the registry, and `wheels/local/` if it exists."""
        return cls(folders=(LOCAL_WHEELS,) if LOCAL_WHEELS.is_dir() else ())

    @property
    def options(self) -> list[str]:
        """As pip and uv both understand them."""
        found = [word for folder in self.folders for word in ("--find-links", str(folder))]
        return [*found, "--no-index"] if self.no_index else found

    def own_wheels(self) -> list[Path]:
        """Return the wheels that a user put beside a registry. Without one, folders are it."""
        return [] if self.no_index else self.local_wheels()

    def local_wheels(self) -> list[Path]:
        """Return the wheels in the folders, sorted by name."""
        return sorted(wheel for folder in self.folders for wheel in folder.glob("*.whl"))


def fetch(
    locked: Sequence[LockedWheel],
    profile: Profile,
    source: WheelSource,
    downloads_folder: Path = DOWNLOADS,
) -> list[Wheel]:
    """Fetch the locked wheels into `downloads_folder`, but for those that are there already.

    Whether the image can install them is for `check_wheel` to say.

    Raises
    ------
    WheelError
        None was found with the locked hash.
    ToolError
        pip failed.
    """
    downloads_folder.mkdir(parents=True, exist_ok=True)
    missing = [wheel for wheel in locked if not _is_there(wheel, downloads_folder)]
    if missing:
        _download(missing, profile, source, downloads_folder)
    return [read_wheel(downloads_folder / wheel.file) for wheel in locked]


def _is_there(wheel: LockedWheel, downloads_folder: Path) -> bool:
    path = downloads_folder / wheel.file
    return path.is_file() and file_sha256(path) == wheel.sha256


def _download(
    missing: Sequence[LockedWheel], profile: Profile, source: WheelSource, downloads_folder: Path
) -> None:
    for wheel in bar(missing, description="fetching", unit="wheel"):
        with tempfile.TemporaryDirectory(dir=downloads_folder, prefix=".fetching-") as name:
            folder = Path(name)
            wanted = folder / "wanted.txt"
            wanted.write_text(f"{wheel.requirement}\n", encoding="utf-8")
            run_tool(
                [
                    *(sys.executable, "-m", "pip", "download", "--disable-pip-version-check"),
                    *("--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes"),
                    "--ignore-requires-python",  # what does not fit is refused in our words
                    *("--implementation", "cp"),
                    *("--python-version", profile.markers["python_version"]),
                    *(word for tag in profile.platforms for word in ("--platform", tag)),
                    *source.options,
                    *("--dest", folder, "--requirement", wanted),
                ]
            )
            fetched = folder / wheel.file
            if not fetched.is_file():
                raise WheelError(
                    f"{wheel.file} was locked, but pip fetched another file for it. "
                    "Build again with UPGRADE=1"
                )
            fetched.replace(downloads_folder / wheel.file)
