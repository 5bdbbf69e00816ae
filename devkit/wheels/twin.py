"""A twin of an image: an environment with the packages of it that matter, at its versions.

What matters is what the kernel-safe code imports, what the vendored wheels require, and what runs a
notebook. None of the vendored packages is in it: those must come from the dataset.

It is resolved once and locked with hashes beside the profile. It is then made from uv's cache by
hard links, so a second twin costs a second and no disk. Treat it as read-only: its files are the
cache's own.
"""

import json
import platform
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock
from packaging.version import Version
from pydantic import BaseModel, ConfigDict, ValidationError

from devkit.errors import TwinError
from devkit.image.profiles import Profile
from devkit.tools import REPOSITORY, find_uv, run_tool
from devkit.wheels.downloads import WheelSource
from devkit.wheels.lock import Lock
from devkit.wheels.twin_lock import FREE_PREFIXES, TwinResolver, digest, keep_twin_lock
from kernelkit.errors import listed
from kernelkit.files import open_atomically

__all__ = ["TWINS", "Twin", "make_twin"]

TWINS = REPOSITORY / "build" / "twins"

_DONE = "twin.json"

# What a notebook starts with, if the image has it.
_STARTED = {"ipykernel": "ipykernel.kernelapp", "ipywidgets": "ipywidgets"}


@dataclass(frozen=True)
class Twin:
    """An environment that stands for an image.

    Attributes
    ----------
    profile
        The image's name.
    folder, python
        Where it lies, and its interpreter.
    versions
        What is installed, by canonical name.
    differences
        How it is not like the image, one clause per difference.
    lock
        What it was made from, or None if it was not made here.
    """

    profile: str
    folder: Path
    python: Path
    versions: dict[str, str]
    differences: tuple[str, ...]
    lock: Lock | None = field(default=None, repr=False)

    def write_kernelspec(self, folder: Path) -> str:
        """Let Jupyter run notebooks in the twin, and return the name to ask for.

        Its description lies below `folder`. A notebook runner outside finds it if `JUPYTER_PATH`
        is `folder`.
        """
        path = folder / "kernels" / self.folder.name / "kernel.json"
        command = [str(self.python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        spec = {"argv": command, "display_name": f"twin of {self.profile}", "language": "python"}
        with open_atomically(path) as file:
            json.dump(spec, file)
        return self.folder.name

    def describe(self) -> str:
        """Say what it is and how it differs, in a few lines."""
        head = f"twin of {self.profile}: {len(self.versions)} packages in {self.folder}"
        return "\n".join([head, *(f"  differs: {text}" for text in self.differences)])


def make_twin(
    profile: Profile,
    needed: Sequence[str],
    vendored: Collection[str] = (),
    source: WheelSource | None = None,
    twins_folder: Path = TWINS,
    *,
    also: Collection[str] = (),
    keep_lock: bool = True,
) -> Twin:
    """Make the twin with the packages `needed` and all that they require, if it is not there yet.

    Parameters
    ----------
    needed
        Canonical names of packages of the image, some with extras.
    vendored
        Canonical names of what the dataset ships.
    also
        More of the image's packages, which were found to be missing. The lock remembers them.
    keep_lock
        Write the lock beside the profile. If not, `keep_twin_lock` does so later.

    Raises
    ------
    TwinError
        A package that the dataset ships would be in it.
    ResolveError, ToolError
        It cannot be resolved or installed.
    """
    built_folder = twins_folder.resolve() / "built"
    source = source or WheelSource.default()
    resolver = TwinResolver(profile, source, built_folder, frozenset(vendored))
    lock = resolver.lock(needed, also)
    _refuse_shipped(profile, lock, vendored)
    if keep_lock:
        keep_twin_lock(profile, lock)
    content = digest(wheel.sha256 for wheel in lock.wheels)[:10]
    folder = built_folder.with_name(f"{profile.name}-{content}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    # one process at a time makes a twin, the others wait and then find it made
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / _DONE).is_file():
            _install(folder, lock, profile, resolver.source_with_built())
    return _finished(profile, folder, lock)


def _refuse_shipped(profile: Profile, lock: Lock, vendored: Collection[str]) -> None:
    unwanted = sorted(lock.names & set(vendored))
    if unwanted:
        raise TwinError(
            f"the image's packages require {', '.join(unwanted)}, which the dataset ships. A twin "
            "with it could not show that it installs. "
            f"Take it out of wheels/requirements.in, or out of the profile {profile.name}"
        )


def _finished(profile: Profile, folder: Path, lock: Lock) -> Twin:
    """Return the twin that is installed in a folder."""
    python = _Done.read(folder / _DONE).python
    versions = {wheel.name: wheel.version for wheel in lock.wheels}
    return Twin(
        profile=profile.name,
        folder=folder,
        python=folder / "bin" / "python",
        versions=versions,
        differences=tuple(_differences(profile, versions, python)),
        lock=lock,
    )


class _Done(BaseModel):
    """What stands in a twin that is finished."""

    model_config = ConfigDict(strict=True)

    python: str

    @classmethod
    def read(cls, path: Path) -> "_Done":
        try:
            return cls.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):
            raise TwinError(
                f"{path} is not what was written there. Remove {path.parent} and build again"
            ) from None


def _install(folder: Path, lock: Lock, profile: Profile, source: WheelSource) -> None:
    """Make the environment, and mark it as finished."""
    uv = find_uv()
    python = profile.markers["python_version"]
    run_tool([uv, "venv", "--quiet", "--no-project", "--clear", "--python", python, folder])
    wanted = folder / "wanted.txt"
    wanted.write_text(lock.requirements, encoding="utf-8")
    interpreter = folder / "bin" / "python"
    install: list[str | Path] = [uv, "pip", "install", "--quiet", "--python", interpreter]
    install += ["--require-hashes", "--no-deps", "--no-build", *source.options]
    run_tool([*install, "--requirement", wanted])
    started = [module for name, module in _STARTED.items() if name in lock.names]
    if started:
        # a notebook cannot write into the twin, so each would compile them anew, in two seconds
        run_tool([interpreter, "-I", "-c", f"import {', '.join(started)}"])
    version = run_tool([interpreter, "-c", "import platform; print(platform.python_version())"])
    with open_atomically(folder / _DONE) as file:
        json.dump({"python": version.strip()}, file)


def _differences(profile: Profile, versions: dict[str, str], python: str) -> Iterator[str]:
    if python != profile.python:
        yield f"Python {python}, the image has {profile.python}"
    glibc = platform.libc_ver()[1]
    if glibc != profile.glibc:
        yield f"glibc {glibc} of this machine, the image has {profile.glibc}"
    cuda = []
    for name, version in versions.items():
        entry = profile.packages.get(name)
        if name.startswith(FREE_PREFIXES):
            if entry is None or entry.pin != version:
                cuda.append(f"{name} {version}")
        elif entry is None:
            yield f"{name} {version}, which the image's list does not have"
        elif entry.version is None:
            yield f"{name} {version}, the image's version is not known"
        elif entry.version.local:
            yield f"{name} {version} as the registry builds it, the image has {entry.version}"
        elif Version(version) != entry.version:
            yield f"{name} {version}, the image has {entry.version}"
    if cuda:
        yield f"CUDA, as the registry's torch wants it: {listed(cuda, most=1)}"
