"""A twin of an image: an environment with the packages of it that matter, at its versions.

What matters is what the kernel-safe code imports, what the vendored wheels require, and what runs a
notebook. None of the vendored packages is in it: those must come from the dataset.

It is resolved once and locked with hashes beside the profile. It is then made from uv's cache by
hard links, so a second twin costs a second and no disk. Treat it as read-only: its files are the
cache's own.
"""

import hashlib
import json
import platform
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from packaging.utils import canonicalize_name
from packaging.version import Version

from devkit.errors import ResolveError, TwinError
from devkit.image.profiles import Profile
from devkit.tools import REPOSITORY, find_uv, run_tool
from devkit.wheels.downloads import WheelSource
from devkit.wheels.lock import Lock, LockedWheel, read_lock, write_lock
from devkit.wheels.refusals import active_requirements
from devkit.wheels.solver import Question, solve
from devkit.wheels.wheelfile import Wheel
from kernelkit.files import open_atomically

__all__ = ["TWINS", "Twin", "make_twin", "needed_packages"]

TWINS = REPOSITORY / "build" / "twins"

_RUNTIME = ("ipykernel", "ipywidgets", "pip")
# the registry's torch is built for a CUDA of its own choice
_FREE = ("nvidia-", "cuda-")
_DONE = "twin.json"


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
    """

    profile: str
    folder: Path
    python: Path
    versions: dict[str, str]
    differences: tuple[str, ...]

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


def needed_packages(
    profile: Profile, modules: Iterable[str], wheels: Sequence[Wheel] = ()
) -> list[str]:
    """Return the image's packages that `wheels` and code with these imports need, sorted."""
    needed = set(_RUNTIME)
    for module in modules:
        owners = [name for name in profile.distributions_of(module) if name in profile.packages]
        # of the several opencv, the one that needs no libraries of a desktop
        owners.sort(key=lambda name: "headless" not in name)
        needed.update(owners[:1])
    for wheel in wheels:
        needed.update(canonicalize_name(r.name) for r in active_requirements(wheel, profile))
    vendored = {wheel.name for wheel in wheels}
    return sorted(n for n in needed if n in profile.packages and n not in vendored)


def make_twin(
    profile: Profile,
    needed: Sequence[str],
    vendored: Collection[str] = (),
    source: WheelSource | None = None,
    twins_folder: Path = TWINS,
) -> Twin:
    """Make the twin with the packages `needed` and all that they require, if it is not there yet.

    Parameters
    ----------
    profile
        The image.
    needed
        Canonical names of packages of the image.
    vendored
        Canonical names of what the dataset ships.
    source
        Where wheels are looked for.
    twins_folder
        Where twins lie.

    Raises
    ------
    TwinError
        A package that the dataset ships would be in it.
    ResolveError, ToolError
        It cannot be resolved or installed.
    """
    source = source or WheelSource.default()
    lock = _lock(profile, needed, source)
    unwanted = sorted(lock.names & set(vendored))
    if unwanted:
        raise TwinError(
            f"the image's packages require {', '.join(unwanted)}, which the dataset ships. A twin "
            "with it could not show that it installs. "
            f"Take it out of wheels/requirements.in, or out of the profile {profile.name}"
        )
    content = _digest(wheel.sha256 for wheel in lock.wheels)[:10]
    folder = twins_folder.resolve() / f"{profile.name}-{content}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    # one process at a time makes a twin, the others wait and then find it made
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / _DONE).is_file():
            _install(folder, profile, lock, source)
    facts = json.loads((folder / _DONE).read_text(encoding="utf-8"))
    versions = {wheel.name: wheel.version for wheel in lock.wheels}
    return Twin(
        profile=profile.name,
        folder=folder,
        python=folder / "bin" / "python",
        versions=versions,
        differences=tuple(_differences(profile, versions, facts["python"])),
    )


def _lock(profile: Profile, needed: Sequence[str], source: WheelSource) -> Lock:
    """The committed lock of the twin, resolved again if other packages are needed."""
    path = profile.folder / "pylock.twin.toml"
    inputs = _digest([profile.digest, *sorted(needed)])
    lock = read_lock(path)
    if lock is not None and lock.inputs == inputs:
        return lock
    lock = Lock(inputs, tuple(_resolve(profile, needed, source)))
    title = (
        f"The twin of {profile.name}: the packages of the image that matter, at its versions.",
        "Made by build_dataset.py when the kernel's imports or the profile change.",
    )
    write_lock(path, lock, title)
    return lock


def _resolve(profile: Profile, needed: Sequence[str], source: WheelSource) -> list[LockedWheel]:
    """The image's versions of what is needed and of what that requires.

    A list that was laid over another may contradict itself. For example, Kaggle pins ipywidgets
    over Colab's, whose widgetsnbextension is too old for it. What is only required then gives way.
    """
    pins = {
        name: f"{name}=={entry.pin}"
        for name, entry in profile.packages.items()
        if entry.pin and not name.startswith(_FREE)
    }
    while True:
        question = Question(needed, list(pins.values()), origin=f"the twin of {profile.name}")
        try:
            return solve(question, profile, source, with_image=False)
        except ResolveError as error:
            named = set(re.findall(r"([\w.-]+)==", str(error)))
            giving_way = (named & pins.keys()) - set(needed)
            if not giving_way:
                raise
            for name in giving_way:
                del pins[name]


def _install(folder: Path, profile: Profile, lock: Lock, source: WheelSource) -> None:
    uv = find_uv()
    python = profile.markers["python_version"]
    run_tool([uv, "venv", "--quiet", "--no-project", "--clear", "--python", python, folder])
    wanted = folder / "wanted.txt"
    wanted.write_text(lock.requirements, encoding="utf-8")
    interpreter = folder / "bin" / "python"
    install: list[str | Path] = [uv, "pip", "install", "--quiet", "--python", interpreter]
    install += ["--require-hashes", "--no-deps", "--no-build", *source.options]
    run_tool([*install, "--requirement", wanted])
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
        if name.startswith(_FREE):
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
        yield f"CUDA, as the registry's torch wants it: {cuda[0]} and {len(cuda) - 1} more"


def _digest(words: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(words).encode()).hexdigest()
