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
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from filelock import FileLock
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from pydantic import BaseModel, ConfigDict, ValidationError

from devkit.errors import ResolveError, ToolError, TwinError
from devkit.image.profiles import Profile
from devkit.tools import REPOSITORY, find_uv, run_tool
from devkit.wheels.downloads import WheelSource
from devkit.wheels.lock import Lock, LockedWheel, read_lock, write_lock
from devkit.wheels.refusals import Chains
from devkit.wheels.solver import Question, solve
from devkit.wheels.wheelfile import Wheel
from kernelkit.files import file_sha256, open_atomically

__all__ = ["TWINS", "Twin", "keep_twin_lock", "make_twin", "needed_packages"]

TWINS = REPOSITORY / "build" / "twins"

_RUNTIME = ("ipykernel", "ipywidgets", "pip")
# the registry's torch is built for a CUDA of its own choice
_FREE = ("nvidia-", "cuda-")
_DONE = "twin.json"
# why a wheel is in the lock that the registry does not have
_BUILT = "built from its sources"


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


def needed_packages(
    profile: Profile, modules: Iterable[str], wheels: Sequence[Wheel] = ()
) -> list[str]:
    """Return the image's packages that `wheels` and code with these imports need, sorted.

    If one is needed with an extra, it is named with it: `fsspec[http]`.
    """
    needed = set(_RUNTIME)
    for module in modules:
        owners = [name for name in profile.distributions_of(module) if name in profile.packages]
        # of the several opencv, the one that needs no libraries of a desktop
        owners.sort(key=lambda name: "headless" not in name)
        needed.update(owners[:1])
    for requirement in _requirements(wheels, profile):
        extras = ",".join(sorted(requirement.extras))
        needed.add(canonicalize_name(requirement.name) + (extras and f"[{extras}]"))
    vendored = {wheel.name for wheel in wheels}
    return sorted(n for n in needed if _name(n) in profile.packages and _name(n) not in vendored)


def _requirements(wheels: Sequence[Wheel], profile: Profile) -> list[Requirement]:
    """What the wheels require, with the extras that they ask of each other."""
    chains = Chains("", [Requirement(wheel.name) for wheel in wheels], wheels, profile)
    return chains.requirements


def _name(needed: str) -> str:
    """The package alone, without extras."""
    return needed.split("[")[0]


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
    profile
        The image.
    needed
        Canonical names of packages of the image, some with extras.
    vendored
        Canonical names of what the dataset ships.
    source
        Where wheels are looked for.
    twins_folder
        Where twins lie.
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
    source = source or WheelSource.default()
    maker = _Maker(profile, source, twins_folder.resolve() / "built", frozenset(vendored))
    lock = maker.lock(needed, also)
    unwanted = sorted(lock.names & set(vendored))
    if unwanted:
        raise TwinError(
            f"the image's packages require {', '.join(unwanted)}, which the dataset ships. A twin "
            "with it could not show that it installs. "
            f"Take it out of wheels/requirements.in, or out of the profile {profile.name}"
        )
    if keep_lock:
        keep_twin_lock(profile, lock)
    content = _digest(wheel.sha256 for wheel in lock.wheels)[:10]
    folder = twins_folder.resolve() / f"{profile.name}-{content}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    # one process at a time makes a twin, the others wait and then find it made
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / _DONE).is_file():
            maker.install(folder, lock)
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


def keep_twin_lock(profile: Profile, lock: Lock) -> None:
    """Write the lock of a twin beside its profile, unless it is there already."""
    path = profile.folder / "pylock.twin.toml"
    title = (
        f"The twin of {profile.name}: the packages of the image that matter, at its versions.",
        "Made by build_dataset.py when the kernel's imports or the profile change.",
    )
    if read_lock(path) != lock:
        write_lock(path, lock, title)


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


@dataclass(frozen=True)
class _Maker:
    """How the twin of an image is resolved and installed.

    Attributes
    ----------
    profile
        The image.
    source
        Where wheels are looked for.
    built_folder
        Where wheels lie that were built from sources.
    vendored
        Canonical names of what the dataset ships.
    """

    profile: Profile
    source: WheelSource
    built_folder: Path
    vendored: frozenset[str]

    def lock(self, needed: Sequence[str], also: Collection[str]) -> Lock:
        """The committed lock of the twin, resolved again if other packages are needed."""
        inputs = _digest([self.profile.digest, *sorted(needed)])
        lock = read_lock(self.profile.folder / "pylock.twin.toml")
        known = [name for name in lock.also if name in self.profile.packages] if lock else []
        is_current = lock is not None and lock.inputs == inputs and set(also) <= set(known)
        if lock is not None and is_current and all(map(self._is_there, lock.wheels)):
            return lock
        added = tuple(sorted({*known, *also}))
        return Lock(inputs, tuple(self._resolve([*needed, *added])), added)

    def _is_there(self, wheel: LockedWheel) -> bool:
        """Whether the registry has a wheel, or the very same was built from sources here."""
        if wheel.why != _BUILT:
            return True
        path = self.built_folder / wheel.file
        if not path.is_file():
            self._build(wheel.name, wheel.version)
        return path.is_file() and file_sha256(path) == wheel.sha256

    def _resolve(self, needed: Sequence[str]) -> list[LockedWheel]:
        """Resolve what is needed. What only an extra asks for, and the dataset ships, is left out.

        The dataset proves that itself.
        """
        wheels = self._resolve_all(needed)
        shipped = {wheel.name for wheel in wheels} & self.vendored
        if shipped and any("[" in name for name in needed):
            shipped -= {wheel.name for wheel in self._resolve_all(sorted(set(map(_name, needed))))}
            wheels = [wheel for wheel in wheels if wheel.name not in shipped]
        built = {path.name for path in self.built_folder.glob("*.whl")}
        return [replace(w, why=_BUILT) if w.file in built else w for w in wheels]

    def _resolve_all(self, needed: Sequence[str]) -> list[LockedWheel]:
        """The image's versions of what is needed and of what that requires.

        A list that was laid over another may contradict itself. For example, Kaggle pins ipywidgets
        over Colab's, whose widgetsnbextension is too old for it. What is only required then gives
        way. A package of the image that has sources only is built.
        """
        pins = {
            name: f"{name}=={entry.pin}"
            for name, entry in self.profile.packages.items()
            if entry.pin and not name.startswith(_FREE)
        }
        built: set[str] = set()
        while True:
            origin = f"the twin of {self.profile.name}"
            question = Question(needed, list(pins.values()), origin=origin)
            try:
                return solve(question, self.profile, self._with_built(), with_image=False)
            except ResolveError as error:
                named = set(re.findall(r"([\w.-]+)==", str(error)))
                unbuilt = self._without_wheels(str(error)) - built
                for name in unbuilt:
                    self._build(name, str(self.profile.packages[name].pin))
                built |= unbuilt
                giving_way = set() if unbuilt else (named & pins.keys()) - set(map(_name, needed))
                if not unbuilt and not giving_way:
                    raise
                for name in giving_way:
                    del pins[name]

    def _without_wheels(self, reason: str) -> set[str]:
        """The image's packages of which the resolver says that it has no wheels."""
        found = re.findall(r"([\w.-]+?)(?:==[\w.+!-]+?)? has no (?:usable )?wheels", reason)
        names = {canonicalize_name(name) for name in found}
        return {name for name in names if self.profile.is_pinned(name)}

    def _build(self, name: str, version: str) -> None:
        """Build a wheel from the sources of a package, as the image's makers did."""
        self.built_folder.mkdir(parents=True, exist_ok=True)
        command: list[str | Path] = ["env", "SOURCE_DATE_EPOCH=315532800", sys.executable]
        command += ["-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--no-binary", name, *self.source.options, "--wheel-dir", self.built_folder]
        try:
            run_tool([*command, f"{name}=={version}"])
        except ToolError as error:
            last = error.output.strip().splitlines()[-1:] or ["it says nothing"]
            raise TwinError(
                f"{self.profile.name} has {name} {version}, which the registry has as sources "
                f"only, and these cannot be built here: {last[0]}. Build a wheel in the image and "
                "put it into wheels/local/"
            ) from None

    def _with_built(self) -> WheelSource:
        if not self.built_folder.is_dir():
            return self.source
        return WheelSource((*self.source.folders, self.built_folder), self.source.no_index)

    def install(self, folder: Path, lock: Lock) -> None:
        """Make the environment, and mark it as finished."""
        uv = find_uv()
        python = self.profile.markers["python_version"]
        run_tool([uv, "venv", "--quiet", "--no-project", "--clear", "--python", python, folder])
        wanted = folder / "wanted.txt"
        wanted.write_text(lock.requirements, encoding="utf-8")
        interpreter = folder / "bin" / "python"
        install: list[str | Path] = [uv, "pip", "install", "--quiet", "--python", interpreter]
        install += ["--require-hashes", "--no-deps", "--no-build", *self._with_built().options]
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
