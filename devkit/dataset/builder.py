"""Build the kernel dataset: lint -> wheels -> pack -> verify -> prove, each told as it is done.

The folder and the locks that are there are replaced only by what was proved.
"""

import re
import tempfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from devkit.competitions import OwnCompetition
from devkit.dataset.limits import check_beforehand, replace_dataset
from devkit.dataset.lines import (
    notes_of_own_wheels,
    plan_lines,
    shown,
    size_in_words,
    table_lines,
)
from devkit.dataset.listing import Listing, mark, proved_fingerprint
from devkit.dataset.made_from import sources_of
from devkit.dataset.own import check_own
from devkit.dataset.pack import Packed, pack
from devkit.dataset.recipes import check_recipes, recipe_files
from devkit.dataset.verify import Proof, check_dataset, prove
from devkit.errors import DatasetError, LintError, TwinError
from devkit.image.profiles import Profile
from devkit.kaggle.marks import Marks, Source, read_marks
from devkit.lint import KERNEL_SOURCE, kernel_files, lint, outside_modules
from devkit.tools import REPOSITORY
from devkit.wheels.downloads import fetch
from devkit.wheels.lock import Lock
from devkit.wheels.needed import needed_packages
from devkit.wheels.resolve import Resolver
from devkit.wheels.twin import Twin, make_twin
from devkit.wheels.twin_lock import keep_twin_lock
from devkit.wheels.wheelfile import Wheel
from kernelkit.own import OwnCode

__all__ = ["BUILD", "Builder"]

BUILD = REPOSITORY / "build"

_MISSING = re.compile(r"No module named '([\w.]+)'")


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
    own
        Code of the user's own that goes there too, or None.
    made_by
        The command that this is, which is noted. A push says it if something has changed.
    settings_file
        The settings that it is for. None means those of the repository.
    say
        It gets each line that there is to tell.
    """

    resolver: Resolver
    listing: Listing
    files: Sequence[Path] = field(default_factory=kernel_files)
    source_folder: Path = KERNEL_SOURCE
    say: Callable[[str], None] = print
    own: OwnCode | None = None
    made_by: str = ""
    settings_file: Path | None = None
    _resolved: Lock | None = field(default=None, init=False, repr=False)

    @property
    def competition(self) -> OwnCompetition | None:
        """The competition of the user's own whose settings these are. Its recipes go there too."""
        return OwnCompetition.of_settings(self.settings_file) if self.settings_file else None

    @property
    def profile(self) -> Profile:
        """The image."""
        return self.resolver.profile

    @property
    def _own_files(self) -> list[Path]:
        if self.own is None:
            return []
        files = [file for module in self.own.modules for file in self.own.files(module)]
        return [file for file in files if file.suffix == ".py"]

    @property
    def _all_files(self) -> list[Path]:
        return [*self.files, *self._own_files]

    def _is_own(self, module: str) -> bool:
        return self.own is not None and module.split(".")[0] in self.own.modules

    def build(self, folder: Path, *, upgrade: bool = False) -> Packed:
        """Lint, fetch, pack and check. Only the proof in the twin is left, and no lock is written.

        Parameters
        ----------
        folder
            Where the dataset is written. No dataset that was proved lies there.
        upgrade
            Resolve again, and take the newest versions that fit.

        Raises
        ------
        LintError
            The lint found something.
        DatasetError
            The dataset is not fit for Kaggle, or would replace one that was proved.
        ResolveError, LockError, WheelError, ToolError
            The wheels cannot be had.
        """
        if proved_fingerprint(folder):
            raise DatasetError(
                f"{folder} holds a dataset that was proved, and one that is not proved never "
                "replaces it. Choose another folder"
            )
        return self._build(folder, folder, upgrade)

    def build_proved(self, folder: Path, *, upgrade: bool = False) -> Packed:
        """Build beside `folder`, prove it, and only then replace what is there, and the locks.

        If the dataset that is there is the same, and was proved for the same image, it is not
        proved again.

        Parameters
        ----------
        folder
            Where the dataset is written.
        upgrade
            As for `build`.

        Raises
        ------
        TwinError
            It does not install or import. What was there is left.
        KernelKitError
            What `build` raises.
        """
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".building-") as name:
            packed = self._build(Path(name) / "dataset", folder, upgrade)
            before = read_marks(folder)
            if self._was_proved(packed, before):
                self.say(f"proved   {packed.fingerprint[:12]} before")
                mark(packed.folder, made_by=self.made_by or before.made_by)
                self.resolver.write(self.current_lock())
                self._mark_proved(packed)
            else:
                self.prove(packed)
            replace_dataset(packed.folder, folder)
        return Packed(folder, packed.manifest)

    def _build(self, folder: Path, shown_folder: Path, upgrade: bool) -> Packed:
        check_beforehand(shown_folder, self.listing)
        sources = sources_of(self.resolver, self.source_folder, self.own, self.settings_file)
        lock = self._lock(upgrade)
        self.lint(lock)
        wheels = self.wheels(lock)
        self.say(f"wheels   {len(wheels)} vendored, {size_in_words(sum(w.size for w in wheels))}")
        for note in notes_of_own_wheels(self.resolver, lock):
            self.say(note)
        reasons = {wheel.name: wheel.why for wheel in lock.wheels}
        packed = pack(
            self.profile,
            wheels,
            reasons,
            self.listing,
            folder,
            self.source_folder,
            self.own,
            self.competition,
        )
        mark(packed.folder, sources=sources, made_by=self.made_by)
        self.say(f"pack     {len(packed.files)} files for {shown(shown_folder)}")
        check_dataset(folder, self.profile)
        self.say(f"verify   every hash, tag, requirement and limit of {packed.fingerprint[:12]}")
        return packed

    def prove(self, packed: Packed) -> None:
        """Install and import a built dataset in the image's twin, offline. Then write the locks.

        If it lacks a module that the image has, the twin gets it, and the proof begins again.

        Raises
        ------
        TwinError
            It does not install or import.
        """
        also: set[str] = set()
        while True:
            twin = self.twin(also)
            try:
                proof = prove(packed.folder, packed.fingerprint, twin)
                break
            except TwinError as error:
                lacking = self._lacking(str(error), twin)
                if not lacking - also:
                    raise
                also |= lacking
                self.say(f"twin     made again with {', '.join(sorted(lacking))} of the image")
        self._tell(twin, proof)
        self.resolver.write(self.current_lock())
        if twin.lock is not None:
            keep_twin_lock(self.profile, twin.lock)
        self._mark_proved(packed)

    def _mark_proved(self, packed: Packed) -> None:
        """Note that a dataset was proved, and the lock, which is written with the proof."""
        sources = read_marks(packed.folder).sources or ()
        mark(packed.folder, proved=packed.fingerprint, sources=(*sources, self._image))

    def _was_proved(self, packed: Packed, before: Marks) -> bool:
        """Whether the dataset that is there was proved, and nothing has changed since then."""
        now = (*(read_marks(packed.folder).sources or ()), self._image)
        then = {source.sha256 for source in before.sources or ()}
        return before.proved == packed.fingerprint and {source.sha256 for source in now} <= then

    @property
    def _image(self) -> Source:
        """What the twin is made from, as it is now."""
        return Source.at("profile and lock", self.profile.folder)

    def _tell(self, twin: Twin, proof: Proof) -> None:
        self.say(twin.describe())
        self.say(proof.output)
        where = "without a network" if proof.is_isolated else "WITH the network in reach"
        self.say(f"proved   installs and imports in the twin {where}, {proof.seconds:.1f} s")

    def _lacking(self, reason: str, twin: Twin) -> set[str]:
        """The package of the image that has a module which the twin was found to lack."""
        found = _MISSING.search(reason.splitlines()[-1])
        owners = self.profile.distributions_of(found[1]) if found else ()
        there = twin.versions.keys() | self.current_lock().names
        lacking = [name for name in owners if name in self.profile.packages and name not in there]
        lacking.sort(key=lambda name: "headless" not in name)
        return set(lacking[:1])

    def twin(self, also: Collection[str] = ()) -> Twin:
        """Make the twin, in which the dataset's notebook runs as on the image.

        Parameters
        ----------
        also
            More of the image's packages that it is to have.
        """
        lock = self.current_lock()
        modules = [name for name in outside_modules(self._all_files) if not self._is_own(name)]
        needed = needed_packages(self.profile, modules, self.wheels(lock))
        source = self.resolver.source
        return make_twin(self.profile, needed, lock.names, source, also=also, keep_lock=False)

    def current_lock(self) -> Lock:
        """Return the profile's lock. It is resolved now if the requirements have changed."""
        return self._lock(upgrade=False, quietly=True)

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
        RecipeError
            A recipe of the user's own competition cannot be loaded.
        """
        findings = lint(self.files, self.profile, lock.modules, self.source_folder)
        if self.own is not None:
            check_own(self.own, self.profile, lock.modules)
            known = {*lock.modules, *self.own.modules}
            findings += lint(self._own_files, self.profile, known, self.source_folder)
        if self.competition is not None:
            check_recipes(self.competition)
        if findings:
            listed = "".join(f"\n{finding}" for finding in findings)
            raise LintError(f"{len(findings)} things would fail on {self.profile.name}:{listed}")
        recipes = recipe_files(self.competition) if self.competition else []
        self.say(f"lint     {len(self._all_files) + len(recipes)} files, nothing found")

    def describe_plan(self, folder: Path) -> list[str]:
        """Say what `build` would do. Nothing is written, and the network is not reached."""
        parts = ["kernelkit"]
        if self.own:
            parts.append(f"{', '.join(self.own.modules)} of {shown(self.own.folder)}")
        if self.competition:
            parts.append(f"the recipes of {self.competition.name}")
        return [
            *plan_lines(self.resolver, len(self._all_files)),
            f"would pack {', '.join(parts)} and the wheels into {shown(folder)}",
            f"to be uploaded as {self.listing.owner}/{self.listing.slug}",
        ]

    def table(self, packed: Packed) -> list[str]:
        """Say what is in a built dataset, how large it is, and why it is there."""
        return table_lines(packed, self.current_lock(), self.resolver)

    def _lock(self, upgrade: bool, quietly: bool = False) -> Lock:
        """The lock that answers the requirements: what was resolved, what is committed, or anew."""
        if not upgrade:
            resolved = self._resolved
            if resolved is None or resolved.inputs != self.resolver.inputs:
                resolved = self.resolver.current_lock()
            if resolved is not None:
                return resolved
        if not quietly:
            self.say(f"resolve  {self.resolver.requirements.name} for {self.profile.name}")
        self._resolved = self.resolver.resolve(upgrade=upgrade)
        return self._resolved
