"""The files of a profile: its facts, its lists of packages, and its table of import names.

Later lists lie over earlier ones. An exact pin replaces the version. A new name without a pin is
recorded as installed, at an unknown version.
"""

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version
from pydantic import BaseModel, ConfigDict, StrictStr, StringConstraints, ValidationError

from devkit.errors import ProfileError
from devkit.tools import read_text

__all__ = [
    "Facts",
    "Installed",
    "canonical_names",
    "lay_list_over",
    "probed_packages",
    "read_facts",
    "read_import_names",
    "read_probe",
]

_FORMS = {
    "python": (re.compile(r"3\.\d+(\.\d+)?"), "3.12.13"),
    "glibc": (re.compile(r"2\.\d+"), "2.35"),
    "machine": (re.compile(r"[a-z0-9_]+"), "x86_64"),
}
# a line of `pip freeze` for what was installed from a repository: only its name is known
_FROM_GIT = re.compile(r"(?:-e )?git\+.*?/([\w.-]+?)(?:\.git)?(?:[@#].*)?")
# what pydantic found wrong, in the words of a sentence
_WANTED = {
    **{"string_type": "a text", "dict_type": "a table", "list_type": "a list"},
    **{"model_type": "a table", "model_attributes_type": "a table"},
}


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


class _Source(BaseModel):
    file: Annotated[StrictStr, StringConstraints(pattern=r"^[\w-][\w. -]*$")]


class _Sources(BaseModel):
    """What a profile.toml says of its sources. The rest is checked with its form."""

    model_config = ConfigDict(extra="allow")

    sources: list[_Source] = []


@dataclass(frozen=True, slots=True)
class Facts:
    """What a profile.toml says, see `devkit.image.profiles.Profile`."""

    python: str
    glibc: str
    machine: str
    sources: tuple[str, ...]


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


def read_facts(path: Path) -> Facts:
    """Read a profile.toml.

    Raises
    ------
    ProfileError
        It is no TOML, or a field is something else.
    """
    table = {"machine": "x86_64"} | _read_toml(path)
    python, glibc, machine = (_checked(table, key, path) for key in _FORMS)
    sources = _validated(_Sources, table, path).sources
    return Facts(python, glibc, machine, tuple(source.file for source in sources))


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


def probed_packages(probe: Mapping[str, Any], path: Path) -> dict[str, Installed]:
    """Return the packages of a probe by canonical name."""
    return {
        canonicalize_name(key): Installed(key, _version(value, path))
        for key, value in probe["packages"].items()
    }


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


def read_import_names(path: Path) -> dict[str, tuple[str, ...]]:
    """Read the table of import names, which may be missing."""
    if not path.is_file():
        return {}
    return canonical_names(_validated(_Imports, {"imports": _read_toml(path)}, path).imports)


def canonical_names(table: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
    """Return a table of import names with the canonical names of distributions."""
    return {key: tuple(canonicalize_name(name) for name in names) for key, names in table.items()}


def lay_list_over(packages: dict[str, Installed], path: Path) -> None:
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
