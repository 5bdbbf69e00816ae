"""Profiles: what an image of Kaggle has, so that another machine can make a dataset for it.

A profile is a folder `wheels/profiles/<name>/`. Its `profile.toml` says the Python, the glibc and
the machine. It also lists the sources of the packages, with their dates. A source is a list of
requirements, or what `notebooks/probe.ipynb` printed on Kaggle. Such a list comes from `pip freeze`
or from a Dockerfile.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from packaging.markers import default_environment
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import canonicalize_name
from packaging.version import Version

from devkit.errors import ProfileError
from devkit.image.sources import (
    Installed,
    canonical_names,
    lay_list_over,
    probed_packages,
    read_facts,
    read_import_names,
    read_probe,
)
from devkit.image.standard_library import standard_library
from devkit.tools import REPOSITORY

__all__ = ["PROFILES", "Profile", "load_profile", "profile_names"]

PROFILES = REPOSITORY / "wheels" / "profiles"

# The glibc versions that uv resolves for. Any other is resolved for the next older one.
_UV_GLIBC = (17, 28, *range(31, 41))
# the older names of three of the manylinux platforms
_LEGACY_PLATFORMS = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}


@dataclass(frozen=True)
class Profile:
    """An image: its Python, platform and packages.

    Attributes
    ----------
    name, folder
        `kaggle-py312`, and where its files lie.
    python
        In full, `3.12.13`.
    glibc
        `2.35`.
    machine
        `x86_64`.
    packages
        By canonical name.
    import_names
        Import name, possibly dotted, to the distributions that may provide it.
    """

    name: str
    folder: Path
    python: str
    glibc: str
    machine: str
    packages: Mapping[str, Installed]
    import_names: Mapping[str, tuple[str, ...]]

    @property
    def python_minor(self) -> tuple[int, int]:
        """`(3, 12)`."""
        version = Version(self.python)
        return version.major, version.minor

    @property
    def glibc_minor(self) -> int:
        """The 35 of `2.35`."""
        return Version(self.glibc).minor

    @property
    def uv_platform(self) -> str:
        """The platform to give to uv: the newest that it knows and that the image can run."""
        known = [minor for minor in _UV_GLIBC if minor <= self.glibc_minor]
        if not known:
            raise ProfileError(
                f"{self.folder / 'profile.toml'}: no wheel is for a glibc as old as {self.glibc}. "
                f"Write 2.{min(_UV_GLIBC)} or newer"
            )
        return f"{self.machine}-manylinux_2_{max(known)}"

    @property
    def platforms(self) -> list[str]:
        """The platform tags that the image accepts, the best first."""
        found = []
        for minor in range(self.glibc_minor, 4, -1):
            found.append(f"manylinux_2_{minor}_{self.machine}")
            if minor in _LEGACY_PLATFORMS:
                found.append(f"{_LEGACY_PLATFORMS[minor]}_{self.machine}")
        return [*found, f"linux_{self.machine}"]

    @cached_property
    def tags(self) -> tuple[Tag, ...]:
        """The tags of wheels that the image's Python accepts, the best first."""
        version, platforms = self.python_minor, self.platforms
        interpreter = f"cp{version[0]}{version[1]}"
        return (
            *cpython_tags(version, abis=[interpreter], platforms=platforms),
            *compatible_tags(version, interpreter=interpreter, platforms=platforms),
        )

    def accepts(self, wheel_tags: Iterable[Tag]) -> bool:
        """Whether the image's Python installs a wheel with these tags."""
        return not self._tag_set.isdisjoint(wheel_tags)

    @cached_property
    def _tag_set(self) -> frozenset[Tag]:
        return frozenset(self.tags)

    @property
    def markers(self) -> dict[str, str]:
        """The environment in which markers of requirements hold or not."""
        return {key: str(value) for key, value in default_environment().items()} | {
            "implementation_name": "cpython",
            "implementation_version": self.python,
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_system": "Linux",
            "python_full_version": self.python,
            "python_version": "{}.{}".format(*self.python_minor),
            "sys_platform": "linux",
        }

    @property
    def digest(self) -> str:
        """A SHA-256 of all that a resolution depends on."""
        facts = [
            self.python,
            self.glibc,
            self.machine,
            sorted((name, str(entry.version)) for name, entry in self.packages.items()),
        ]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def distributions_of(self, module: str) -> tuple[str, ...]:
        """Canonical names of the distributions that may provide `import module`.

        The longest known part of a dotted name counts. A name that no table lists is its
        distribution's own: `scipy.sparse` is `scipy`. The image need not have them. Modules of the
        standard library are of none, though `importlib-resources` is a distribution too.
        """
        parts = module.split(".")
        if parts[0] in standard_library(self.python_minor):
            return ()
        for length in range(len(parts), 0, -1):
            part = ".".join(parts[:length])
            if part in self.import_names:
                return self.import_names[part]
            if length > 1 and canonicalize_name(part) in self.packages:
                return (canonicalize_name(part),)
        return (canonicalize_name(parts[0]),)

    def is_pinned(self, name: str) -> bool:
        """Whether the image has the package of this canonical name at a known version."""
        return name in self.packages and self.packages[name].pin is not None

    def provides(self, module: str) -> bool:
        """Whether `import module` finds something that the image has."""
        return any(name in self.packages for name in self.distributions_of(module))


def profile_names(folder: Path = PROFILES) -> list[str]:
    """Return the names of all profiles."""
    return sorted(path.parent.name for path in folder.glob("*/profile.toml"))


def load_profile(name: str, folder: Path = PROFILES) -> Profile:
    """Read the profile `name`.

    Raises
    ------
    ProfileError
        There is no such profile, or a file of it cannot be understood.
    """
    profile_folder = folder / name
    facts_path = profile_folder / "profile.toml"
    if not facts_path.is_file():
        raise ProfileError(
            f"there is no profile '{name}' in {folder}, only {', '.join(profile_names(folder))}. "
            "Make one with `python -m devkit.image.add_profile`"
        )
    facts = read_facts(facts_path)
    packages: dict[str, Installed] = {}
    import_names = read_import_names(folder / "import-names.toml")
    for source in facts.sources:
        path = profile_folder / source
        if path.suffix == ".json":
            probe = read_probe(path)
            packages |= probed_packages(probe, path)
            import_names |= canonical_names(probe["imports"])
        else:
            lay_list_over(packages, path)
    if not packages:
        raise ProfileError(f"{facts_path}: its sources list no package at all. Add a source")
    return Profile(
        name=name,
        folder=profile_folder,
        python=facts.python if facts.python.count(".") == 2 else f"{facts.python}.0",
        glibc=facts.glibc,
        machine=facts.machine,
        packages=packages,
        import_names=import_names,
    )
