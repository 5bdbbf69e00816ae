"""The lock of a twin: the image's versions of what is needed, resolved once.

A package that the registry has as sources only is built here.
"""

import hashlib
import re
import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.utils import canonicalize_name

from devkit.errors import ResolveError, ToolError, TwinError
from devkit.image.profiles import Profile
from devkit.tools import run_tool
from devkit.wheels.downloads import WheelSource
from devkit.wheels.lock import Lock, LockedWheel, read_lock, write_lock
from devkit.wheels.needed import package_name
from devkit.wheels.solver import Question, solve
from kernelkit.files import file_sha256

__all__ = ["FREE_PREFIXES", "TwinResolver", "digest", "keep_twin_lock"]

# the registry's torch is built for a CUDA of its own choice
FREE_PREFIXES = ("nvidia-", "cuda-")
# why a wheel is in the lock that the registry does not have
_BUILT = "built from its sources"


def keep_twin_lock(profile: Profile, lock: Lock) -> None:
    """Write the lock of a twin beside its profile, unless it is there already."""
    path = profile.folder / "pylock.twin.toml"
    title = (
        f"The twin of {profile.name}: the packages of the image that matter, at its versions.",
        "Made by build_dataset.py when the kernel's imports or the profile change.",
    )
    if read_lock(path) != lock:
        write_lock(path, lock, title)


@dataclass(frozen=True)
class TwinResolver:
    """How the packages of an image's twin are resolved.

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
        """Return the committed lock of the twin, resolved again if other packages are needed."""
        inputs = digest([self.profile.digest, *sorted(needed)])
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
            shipped -= {
                wheel.name for wheel in self._resolve_all(sorted(set(map(package_name, needed))))
            }
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
            if entry.pin and not name.startswith(FREE_PREFIXES)
        }
        built: set[str] = set()
        while True:
            origin = f"the twin of {self.profile.name}"
            question = Question(needed, list(pins.values()), origin=origin)
            try:
                return solve(question, self.profile, self.source_with_built(), with_image=False)
            except ResolveError as error:
                named = set(re.findall(r"([\w.-]+)==", str(error)))
                unbuilt = self._without_wheels(str(error)) - built
                for name in unbuilt:
                    self._build(name, str(self.profile.packages[name].pin))
                built |= unbuilt
                giving_way = (
                    set() if unbuilt else (named & pins.keys()) - set(map(package_name, needed))
                )
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

    def source_with_built(self) -> WheelSource:
        """Return the source of wheels, with those that were built here."""
        if not self.built_folder.is_dir():
            return self.source
        return WheelSource((*self.source.folders, self.built_folder), self.source.no_index)


def digest(words: Iterable[str]) -> str:
    """Return the SHA-256 of some words."""
    return hashlib.sha256("\n".join(words).encode()).hexdigest()
