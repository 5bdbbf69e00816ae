"""Build the kernel dataset: lint -> wheels -> pack -> verify. Each step is told as it is done."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from packaging.utils import canonicalize_name

from devkit.dataset.listing import Listing
from devkit.dataset.pack import Packed, pack
from devkit.dataset.verify import check_dataset, prove
from devkit.errors import LintError
from devkit.image.profiles import Profile
from devkit.lint import KERNEL_SOURCE, kernel_files, lint, outside_modules
from devkit.tools import REPOSITORY
from devkit.wheels.downloads import fetch
from devkit.wheels.lock import Lock
from devkit.wheels.resolve import Resolver, read_requirements
from devkit.wheels.twin import Twin, make_twin, needed_packages
from devkit.wheels.wheelfile import Wheel

__all__ = ["BUILD", "Builder", "default_listing"]

BUILD = REPOSITORY / "build"


def default_listing(profile: Profile) -> Listing:
    """Return how the dataset of a profile is listed by default."""
    return Listing(
        owner="your-name",
        slug=f"kernelkit-{profile.name}"[:50],
        title=f"kernelkit for {profile.name}"[:50],
        subtitle=f"Modules and wheels of an offline notebook, for {profile.name}"[:80],
    )


@dataclass
class Builder:
    """The dataset of one profile, to be built.

    Attributes
    ----------
    resolver
        Of the profile's wheels.
    listing
        How the dataset is to be listed on Kaggle.
    files
        What the lint looks at.
    source_folder
        The folder with the package and what lies beside it.
    say
        It gets each line that there is to tell.
    """

    resolver: Resolver
    listing: Listing
    files: Sequence[Path] = field(default_factory=kernel_files)
    source_folder: Path = KERNEL_SOURCE
    say: Callable[[str], None] = print

    @property
    def profile(self) -> Profile:
        """The image."""
        return self.resolver.profile

    def build(self, folder: Path, *, upgrade: bool = False) -> Packed:
        """Lint, fetch, pack and check. Only the proof in the twin is left.

        Parameters
        ----------
        folder
            Where the dataset is written.
        upgrade
            Resolve again, and take the newest versions that fit.

        Raises
        ------
        LintError
            The lint found something.
        DatasetError
            The dataset is not fit for Kaggle.
        ResolveError, LockError, WheelError, ToolError
            The wheels cannot be had.
        """
        lock = self._lock(upgrade)
        self.lint(lock)
        wheels = self.wheels(lock)
        self.say(f"wheels   {len(wheels)} vendored, {_size(sum(w.size for w in wheels))}")
        reasons = {wheel.name: wheel.why for wheel in lock.wheels}
        packed = pack(self.profile, wheels, reasons, self.listing, folder, self.source_folder)
        self.say(f"pack     {len(packed.files)} files into {_shown(folder)}")
        check_dataset(folder, self.profile)
        self.say(f"verify   every hash, tag, requirement and limit of {packed.fingerprint[:12]}")
        return packed

    def prove(self, packed: Packed) -> None:
        """Install and import a built dataset in the image's twin, offline.

        Raises
        ------
        TwinError
            It does not install or import.
        """
        twin = self.twin()
        self.say(twin.describe())
        proof = prove(packed.folder, packed.fingerprint, twin)
        self.say(proof.output)
        where = "without a network" if proof.is_isolated else "WITH the network in reach"
        self.say(f"proved   installs and imports in the twin {where}, {proof.seconds:.1f} s")

    def twin(self) -> Twin:
        """Make the twin, in which the dataset's notebook runs as on the image."""
        lock = self.current_lock()
        modules = outside_modules(self.files)
        needed = needed_packages(self.profile, modules, self.wheels(lock))
        return make_twin(self.profile, needed, lock.names, self.resolver.source)

    def current_lock(self) -> Lock:
        """Return the profile's lock. It is resolved now if the requirements have changed."""
        return self.resolver.current_lock() or self.resolver.lock()

    def wheels(self, lock: Lock) -> list[Wheel]:
        """Return the locked wheels. Those that are not there are fetched."""
        resolver = self.resolver
        return fetch(lock.wheels, resolver.profile, resolver.source, resolver.downloads_folder)

    def lint(self, lock: Lock) -> None:
        """Lint what goes to Kaggle.

        Raises
        ------
        LintError
            It lists every finding.
        """
        findings = lint(self.files, self.profile, lock.modules, self.source_folder)
        if findings:
            listed = "".join(f"\n{finding}" for finding in findings)
            raise LintError(f"{len(findings)} things would fail on {self.profile.name}:{listed}")
        self.say(f"lint     {len(self.files)} files, nothing found")

    def describe_plan(self, folder: Path) -> list[str]:
        """Say what `build` would do. Nothing is written, and the network is not reached."""
        resolver = self.resolver
        lock = resolver.current_lock()
        steps = [
            f"for {self.profile.name}: Python {self.profile.python}, glibc {self.profile.glibc}"
        ]
        asked = ", ".join(map(str, read_requirements(resolver.requirements))) or "nothing"
        if lock is None:
            steps.append(f"would resolve {asked} again, since the lock does not answer it")
        else:
            there = [w.file for w in lock.wheels if (resolver.downloads_folder / w.file).is_file()]
            fetched = [w.file for w in lock.wheels if w.file not in there]
            taken = ", ".join(there) or "nothing"
            steps.append(f"would take {taken} from {_shown(resolver.downloads_folder)}")
            steps += [f"would fetch {name}" for name in fetched]
        steps.append(f"would lint {len(self.files)} files")
        steps.append(f"would pack kernelkit and the wheels into {_shown(folder)}")
        steps.append(f"to be uploaded as {self.listing.owner}/{self.listing.slug}")
        return steps

    def table(self, packed: Packed) -> list[str]:
        """Say what is in a built dataset, how large it is, and why it is there."""
        notes = {wheel.name: wheel.note for wheel in self.current_lock().wheels}
        rows = [(e["safe_name"], _size(e["size"]), e["why"]) for e in packed.files]
        total = sum(entry["size"] for entry in packed.files)
        rows.append(("total", _size(total), f"fingerprint {packed.fingerprint}"))
        width = max(len(name) for name, _, _ in rows)
        lines = [f"{name:<{width}}  {size:>9}  {why}" for name, size, why in rows]
        lines += [f"note: {name}: {note}" for name, note in notes.items() if note]
        return lines + self._not_shipped(notes)

    def _not_shipped(self, shipped: Mapping[str, str]) -> list[str]:
        lines = []
        for requirement in read_requirements(self.resolver.requirements):
            name = canonicalize_name(requirement.name)
            if name not in shipped and self.profile.is_pinned(name):
                version = self.profile.packages[name].version
                lines.append(f"note: {name}: not shipped, {self.profile.name} has {version}")
        return lines

    def _lock(self, upgrade: bool) -> Lock:
        lock = None if upgrade else self.resolver.current_lock()
        if lock is not None:
            return lock
        self.say(f"resolve  {self.resolver.requirements.name} for {self.profile.name}")
        return self.resolver.lock(upgrade=upgrade)


def _size(count: int) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def _shown(path: Path) -> Path:
    return path.relative_to(REPOSITORY) if path.is_relative_to(REPOSITORY) else path
