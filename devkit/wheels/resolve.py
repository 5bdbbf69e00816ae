"""From `wheels/requirements.in` to the lock of a profile: what the image lacks, and why.

Every package of the image stays as it is. What would replace or hide one of them is refused. The
error names the chain of requirements that wants it.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from devkit.errors import ResolveError, WheelError
from devkit.image.profiles import Profile
from devkit.tools import REPOSITORY, read_text
from devkit.wheels.downloads import DOWNLOADS, WheelSource, fetch
from devkit.wheels.lock import Lock, LockedWheel, read_lock, write_lock
from devkit.wheels.refusals import (
    Chains,
    is_protected,
    refuse_hiding,
    refuse_protected,
)
from devkit.wheels.releases import is_old, newest_release
from devkit.wheels.solver import Question, solve
from devkit.wheels.wheelfile import Wheel, check_wheel
from kernelkit.files import file_sha256

__all__ = ["REQUIREMENTS", "Resolver", "lock_path", "read_allowed", "read_requirements"]

REQUIREMENTS = REPOSITORY / "wheels" / "requirements.in"

# what a user writes behind a requirement to accept a version that is years old
_ALLOWED = re.compile(r"#.*\ballow-old\b")


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
    for number, line in enumerate(read_text(path, ResolveError).splitlines(), 1):
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


def read_allowed(path: Path) -> set[str]:
    """Return the packages whose line says `# allow-old`, by canonical name."""
    lines = read_text(path, ResolveError).splitlines()
    asked = [line.split("#")[0].strip() for line in lines if _ALLOWED.search(line)]
    return {canonicalize_name(Requirement(text).name) for text in asked if text}


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
    allow_old
        Packages that may be years older than their newest release, beside those whose line says
        `# allow-old`. Canonical names.
    """

    profile: Profile
    requirements: Path = REQUIREMENTS
    source: WheelSource = field(default_factory=WheelSource.default)
    downloads_folder: Path = DOWNLOADS
    allow_old: frozenset[str] = frozenset()

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
        """Resolve, fetch and check like `resolve`, and write the lock."""
        lock = self.resolve(upgrade=upgrade)
        self.write(lock)
        return lock

    def write(self, lock: Lock) -> None:
        """Write the lock beside the profile, unless it is there already."""
        if read_lock(lock_path(self.profile)) != lock:
            write_lock(lock_path(self.profile), lock, self._title())

    def resolve(self, *, upgrade: bool = False) -> Lock:
        """Resolve, fetch and check. No lock is written.

        Parameters
        ----------
        upgrade
            Take the newest versions that fit. Else versions stay as locked if they still fit.

        Raises
        ------
        ResolveError
            The request cannot be met, would replace or hide a package of the image, or only by a
            version that is years old.
        LockError
            The lock that is there cannot be read.
        WheelError
            A wheel is not what its name says, or the image cannot install it.
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
        for wheel in wheels:
            try:
                check_wheel(wheel, self.profile)
            except WheelError as error:
                raise WheelError(f"{chains[wheel.name]}: {error}") from None
        refuse_hiding(wheels, chains, self.profile)
        return Lock(self.inputs, tuple(self._described(locked, wheels, chains, opened)))

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
        chains: Chains,
        opened: set[str],
    ) -> Iterable[LockedWheel]:
        with ThreadPoolExecutor(4) as pool:
            notes = list(pool.map(lambda wheel: self._note(wheel, chains), locked))
        for entry, wheel, note in zip(locked, wheels, notes, strict=True):
            path = chains.path(entry.name)
            if len(path) == 1:
                why = f"wanted by an extra of {', '.join(sorted(opened))}"
            else:
                why = f"wanted by {' > '.join(path[1:-1])}" if len(path) > 2 else "asked for"
            is_there = entry.name in self.profile.packages
            why += ", in the image at an unknown version" if is_there else ", not in the image"
            yield replace(entry, modules=wheel.modules, why=why, note=note)

    def _note(self, wheel: LockedWheel, chains: Chains) -> str:
        """What keeps a package from being the newest that there is. One that is old is refused."""
        wanted = [r for r in chains.requirements if canonicalize_name(r.name) == wheel.name]
        newest = newest_release(wheel.name, [r.specifier for r in wanted], self.source)
        if newest is None or newest <= Version(wheel.version):
            return ""
        question = Question([f"{wheel.name}=={newest}"], origin=f"{wheel.name} {newest}")
        try:
            solve(question, self.profile, self.source)
        except ResolveError as error:
            reason = str(error).split(". And because you require")[0]
        else:
            return f"{newest} is out. Build with UPGRADE=1 to take it"
        if wheel.uploaded is None:  # a folder of wheels knows no dates
            too_old = "only sources" in reason
        else:
            too_old = is_old(wheel.uploaded, wheel.name, newest, self.source)
        if too_old and wheel.name not in self.allow_old | read_allowed(self.requirements):
            of = f" of {wheel.uploaded:%Y-%m-%d}" if wheel.uploaded else ""
            raise ResolveError(
                f"{chains[wheel.name]}: found {wheel.version}{of}, wanted {newest}, which is out. "
                f"{reason}. To take the old one, write `# allow-old` behind it in "
                f"{self.requirements.name}, or build with --allow-old {wheel.name}"
            )
        return f"not the newest: {reason}"

    def _title(self) -> list[str]:
        return [
            f"The wheels that {self.requirements.name} asks for and {self.profile.name} lacks.",
            "Made by build_dataset.py: edit the requirements, not this file.",
        ]
