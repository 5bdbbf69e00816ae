"""Profiles: what an image of Kaggle has, so that another machine can make a dataset for it.

A profile is a folder `wheels/profiles/<name>/`. Its `profile.toml` says the Python, the glibc and
the machine. It also lists the sources of the packages, with their dates. A source is a list of
requirements, or what `notebooks/probe.ipynb` printed on Kaggle. Such a list comes from `pip freeze`
or from a Dockerfile.

Later sources lie over earlier ones. An exact pin replaces the version. A new name without a pin is
recorded as installed, at an unknown version.
"""

import hashlib
import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from packaging.markers import default_environment
from packaging.requirements import InvalidRequirement, Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version
from pydantic import BaseModel, ConfigDict, StrictStr, StringConstraints, ValidationError

from devkit.errors import ProfileError
from devkit.tools import REPOSITORY, read_text

__all__ = ["PROFILES", "Installed", "Profile", "load_profile", "profile_names", "read_probe"]

PROFILES = REPOSITORY / "wheels" / "profiles"

_FORMS = {
    "python": (re.compile(r"3\.\d+(\.\d+)?"), "3.12.13"),
    "glibc": (re.compile(r"2\.\d+"), "2.35"),
    "machine": (re.compile(r"[a-z0-9_]+"), "x86_64"),
}
# The glibc versions that uv resolves for. Any other is resolved for the next older one.
_UV_GLIBC = (17, 28, *range(31, 41))
# a line of `pip freeze` for what was installed from a repository: only its name is known
_FROM_GIT = re.compile(r"(?:-e )?git\+.*?/([\w.-]+?)(?:\.git)?(?:[@#].*)?")
# the older names of three of the manylinux platforms
_LEGACY_PLATFORMS = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}


# what pydantic found wrong, in the words of a sentence
_WANTED = {
    **{"string_type": "a text", "dict_type": "a table", "list_type": "a list"},
    **{"model_type": "a table", "model_attributes_type": "a table"},
}


class _Source(BaseModel):
    file: Annotated[StrictStr, StringConstraints(pattern=r"^[\w-][\w. -]*$")]


class _Facts(BaseModel):
    """What a profile.toml says of its sources. The rest is checked with its form."""

    model_config = ConfigDict(extra="allow")

    sources: list[_Source] = []


class _Probe(BaseModel):
    """What `notebooks/probe.ipynb` saved."""

    model_config = ConfigDict(extra="allow")

    packages: dict[StrictStr, StrictStr]
    imports: dict[StrictStr, list[StrictStr]]
    python: StrictStr
    glibc: StrictStr


class _Imports(BaseModel):
    """The table of import names."""

    imports: dict[StrictStr, list[StrictStr]]


@dataclass(frozen=True, slots=True)
class Installed:
    """A distribution of the image.

    Attributes
    ----------
    name
        As its source writes it.
    version
        None if it is unknown.
    """

    name: str
    version: Version | None

    @property
    def pin(self) -> str | None:
        """Its version as the registry knows it: without a local label such as `+cu128`."""
        return self.version.public if self.version is not None else None


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
        distribution's own: `scipy.sparse` is `scipy`. The image need not have them.
        """
        parts = module.split(".")
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
    facts = _read_toml(facts_path)
    python, glibc = (_checked(facts, key, facts_path) for key in ("python", "glibc"))
    machine = _checked({"machine": "x86_64"} | facts, "machine", facts_path)
    sources = _validated(_Facts, facts, facts_path).sources
    packages: dict[str, Installed] = {}
    import_names = _import_table(folder / "import-names.toml")
    for source in sources:
        path = profile_folder / source.file
        if path.suffix == ".json":
            probe = read_probe(path)
            packages |= {
                canonicalize_name(key): Installed(key, _version(value, path))
                for key, value in probe["packages"].items()
            }
            import_names |= _canonical(probe["imports"])
        else:
            _overlay(packages, path)
    if not packages:
        raise ProfileError(f"{facts_path}: its sources list no package at all. Add a source")
    return Profile(
        name=name,
        folder=profile_folder,
        python=python if python.count(".") == 2 else f"{python}.0",
        glibc=glibc,
        machine=machine,
        packages=packages,
        import_names=import_names,
    )


def read_probe(path: Path) -> dict[str, Any]:
    """Read what `notebooks/probe.ipynb` saved: `packages`, `imports`, `python`, `glibc` and more.

    Raises
    ------
    ProfileError
        It is something else.
    """
    try:
        probe = json.loads(read_text(path, ProfileError))
    except json.JSONDecodeError as error:
        raise ProfileError(
            f"{path} is not what the probe prints: {error}. Run notebooks/probe.ipynb again"
        ) from None
    except (RecursionError, UnicodeError):
        raise ProfileError(
            f"{path} is not what the probe prints: it is nested too deep. "
            "Run notebooks/probe.ipynb again"
        ) from None
    if not isinstance(probe, dict) or not {"packages", "imports", "python", "glibc"} <= set(probe):
        raise ProfileError(
            f"{path} is not what the probe prints: it lacks packages, imports, python or glibc. "
            "Run notebooks/probe.ipynb again"
        )
    return _validated(_Probe, probe, path).model_dump()


def _validated[Model: BaseModel](model: type[Model], content: Any, path: Path) -> Model:
    """Parse a table, or say which field of the file is something else."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        problem = error.errors()[0]
        parts = problem["loc"]
        place = ".".join(map(str, parts))
        if parts[0] == "sources":
            place = f"file of source {int(parts[1]) + 1}" if len(parts) > 1 else "sources"
        is_missing = problem["type"] == "missing"
        found = "nothing" if is_missing else ascii(problem["input"])
        found = found if len(found) <= 60 else f"{found[:60]}..."
        wanted = _WANTED.get(problem["type"], "the name of a file beside it")
        wanted = "tables [[sources]]" if place == "sources" else wanted
        raise ProfileError(f"{path}: {place} is {found}, wanted {wanted}. Correct it") from None


def _checked(facts: Mapping[str, Any], key: str, path: Path) -> str:
    value = facts.get(key)
    form, example = _FORMS[key]
    if not isinstance(value, str) or not form.fullmatch(value):
        raise ProfileError(f"{path}: {key} is {value!r}. Write it like {example!r}")
    return value


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_text(path, ProfileError))
    except tomllib.TOMLDecodeError as error:
        raise ProfileError(f"{path} is not TOML: {error}. Correct it") from None
    except RecursionError:
        raise ProfileError(f"{path} is not TOML: it is nested too deep. Correct it") from None


def _import_table(path: Path) -> dict[str, tuple[str, ...]]:
    if not path.is_file():
        return {}
    return _canonical(_validated(_Imports, {"imports": _read_toml(path)}, path).imports)


def _canonical(table: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
    return {key: tuple(canonicalize_name(name) for name in names) for key, names in table.items()}


def _overlay(packages: dict[str, Installed], path: Path) -> None:
    """Lay the requirements of the list `path` over `packages`."""
    if not path.is_file():
        raise ProfileError(
            f"{path.parent / 'profile.toml'}: its source {path.name} is missing. "
            "Put it beside that file"
        )
    for requirement in _requirements(path):
        key = canonicalize_name(requirement.name)
        pins = [spec.version for spec in requirement.specifier if spec.operator in ("==", "===")]
        known = packages.get(key)
        if pins:
            packages[key] = Installed(requirement.name, _version(pins[0], path))
        elif (
            known is None
            or known.version is None
            or not requirement.specifier.contains(known.version, prereleases=True)
        ):
            packages[key] = Installed(known.name if known else requirement.name, None)


def _requirements(path: Path) -> Iterator[Requirement]:
    for number, line in enumerate(read_text(path, ProfileError).splitlines(), 1):
        text = line.split(" #")[0].strip()
        if not text or text.startswith("#"):
            continue
        from_git = _FROM_GIT.fullmatch(text)
        try:
            yield Requirement(from_git[1] if from_git else text)
        except InvalidRequirement:
            raise ProfileError(
                f"{path}:{number}: '{text}' is no requirement. Write it like 'numpy==2.0.2'"
            ) from None


def _version(text: str, path: Path) -> Version:
    try:
        return Version(text)
    except InvalidVersion:
        raise ProfileError(f"{path}: '{text}' is no version of a package") from None
