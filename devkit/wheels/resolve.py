"""From `wheels/requirements.in` to the lock of a profile: what the image lacks, and why.

Every package of the image stays as it is. What would replace or hide one of them is refused. The
error names the chain of requirements that wants it.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from devkit.errors import ResolveError
from devkit.image.profiles import Profile
from devkit.tools import REPOSITORY
from devkit.wheels.downloads import DOWNLOADS, WheelSource, fetch
from devkit.wheels.lock import Lock, LockedWheel, read_lock, write_lock
from devkit.wheels.refusals import (
    Chains,
    is_protected,
    refuse_hiding,
    refuse_protected,
)
from devkit.wheels.solver import Question, solve
from devkit.wheels.wheelfile import Wheel
from kernelkit.files import file_sha256

__all__ = ["REQUIREMENTS", "Resolver", "lock_path", "read_requirements"]

REQUIREMENTS = REPOSITORY / "wheels" / "requirements.in"


def lock_path(profile: Profile) -> Path:
    """Return where the lock of a profile is committed."""
    return profile.folder / "pylock.toml"


def read_requirements(path: Path) -> list[Requirement]:
    """Read the requirements that a user wrote, without comments.

    Raises
    ------
    ResolveError
        A line is not the name of a package with an optional version. It may be an option of pip,
        an address or a path.
    """
    if not path.is_file():
        raise ResolveError(f"there is no file {path}. Write it: it lists the packages to vendor")
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        text = line.split("#")[0].strip()
        if not text:
            continue
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            requirement = None
        if requirement is None or requirement.url:
            raise ResolveError(
                f"{path}:{number}: '{text}' is not the name of a package, such as 'edt>=3'. "
                "Put a wheel of your own into wheels/local/"
            )
        found.append(requirement)
    return found


@dataclass(frozen=True)
class Resolver:
    """The requirements of one file, to be resolved for one profile.

    Attributes
    ----------
    profile
        The image.
    requirements
        The file that lists what is asked for.
    source
        Where wheels are looked for.
    downloads_folder
        Where fetched wheels are kept.
    """

    profile: Profile
    requirements: Path = REQUIREMENTS
    source: WheelSource = field(default_factory=WheelSource.default)
    downloads_folder: Path = DOWNLOADS

    @property
    def inputs(self) -> str:
        """A digest of all that decides the answer, except what the registry has by now."""
        facts = [
            sorted(map(str, read_requirements(self.requirements))),
            self.profile.digest,
            [(path.name, file_sha256(path)) for path in self.source.local_wheels()],
        ]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def current_lock(self) -> Lock | None:
        """Return the committed lock, if it still answers the requirements."""
        lock = read_lock(lock_path(self.profile))
        return lock if lock is not None and lock.inputs == self.inputs else None

    def lock(self, *, upgrade: bool = False) -> Lock:
        """Resolve, fetch, check and write the lock.

        Parameters
        ----------
        upgrade
            Take the newest versions that fit. Else versions stay as locked if they still fit.

        Raises
        ------
        ResolveError
            The request cannot be met, or would replace or hide a package of the image.
        LockError
            The lock that is there cannot be read.
        WheelError
            A wheel is not what its name says.
        """
        asked = read_requirements(self.requirements)
        before = None if upgrade else read_lock(lock_path(self.profile))
        kept = [f"{wheel.name}=={wheel.version}" for wheel in before.wheels] if before else []
        opened = self._extras(asked)
        while True:
            locked = self._solve(asked, opened, kept)
            fit = [wheel for wheel in locked if not is_protected(wheel.name)]
            wheels = fetch(fit, self.profile, self.source, self.downloads_folder)
            chains = Chains(self.requirements.name, asked, wheels, self.profile)
            refuse_protected(locked, chains, self.profile)
            more = self._extras(chains.requirements) - opened
            if not more:
                break
            opened |= more
        refuse_hiding(wheels, chains, self.profile)
        lock = Lock(self.inputs, tuple(self._described(locked, wheels, asked, chains, opened)))
        write_lock(lock_path(self.profile), lock, self._title())
        return lock

    def _solve(
        self, asked: Sequence[Requirement], opened: set[str], kept: Sequence[str]
    ) -> list[LockedWheel]:
        question = Question([str(r) for r in asked], kept, opened, str(self.requirements.name))
        if not kept:
            return solve(question, self.profile, self.source)
        try:
            return solve(question, self.profile, self.source)
        except ResolveError:
            return solve(replace(question, constraints=()), self.profile, self.source)

    def _extras(self, requirements: Iterable[Requirement]) -> set[str]:
        """The image's packages that are asked for with an extra, which the image may lack."""
        names = {canonicalize_name(r.name) for r in requirements if r.extras}
        return {name for name in names if self.profile.is_pinned(name)}

    def _described(
        self,
        locked: Sequence[LockedWheel],
        wheels: Sequence[Wheel],
        asked: Sequence[Requirement],
        chains: Chains,
        opened: set[str],
    ) -> Iterable[LockedWheel]:
        notes = self._notes(locked, asked)
        for entry, wheel in zip(locked, wheels, strict=True):
            path = chains.path(entry.name)
            if len(path) == 1:
                why = f"wanted by an extra of {', '.join(sorted(opened))}"
            else:
                why = f"wanted by {' > '.join(path[1:-1])}" if len(path) > 2 else "asked for"
            is_there = entry.name in self.profile.packages
            why += ", in the image at an unknown version" if is_there else ", not in the image"
            yield replace(entry, modules=wheel.modules, why=why, note=notes.get(entry.name, ""))

    def _notes(self, locked: Sequence[LockedWheel], asked: Sequence[Requirement]) -> dict[str, str]:
        """What keeps a package that was asked for from being the newest that there is."""
        versions = {wheel.name: wheel.version for wheel in locked}
        direct = {canonicalize_name(r.name): r for r in asked}
        notes: dict[str, str] = {}
        for name in direct.keys() & versions.keys():
            newest = self._newest(direct[name])
            if Version(newest) <= Version(versions[name]):
                continue
            question = Question([f"{name}=={newest}"], origin=f"{name} {newest}")
            try:
                solve(question, self.profile, self.source)
            except ResolveError as error:
                reason = str(error).split(". And because you require")[0]
                notes[name] = f"not the newest: {reason}"
            else:
                notes[name] = f"{newest} is out. Build with --upgrade to take it"
        return notes

    def _newest(self, requirement: Requirement) -> str:
        question = Question([str(requirement)], origin=str(requirement), is_alone=True)
        return solve(question, self.profile, self.source, with_image=False)[0].version

    def _title(self) -> list[str]:
        return [
            f"The wheels that {self.requirements.name} asks for and {self.profile.name} lacks.",
            "Made by build_dataset.py: edit the requirements, not this file.",
        ]
