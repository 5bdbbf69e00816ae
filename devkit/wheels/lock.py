"""Locks: which wheel, to the byte, stands for each package, and why it is there.

A lock is a `pylock.toml` (PEP 751) with one wheel and one hash per package. What is fetched is
therefore what was reviewed. No address is recorded: the path of a wheel is its file name. The
tables `tool.kernelkit` hold what a build without a network wants to know beside that.
"""

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from packaging.pylock import Package, PackageWheel, Pylock, PylockValidationError
from packaging.utils import canonicalize_name
from packaging.version import Version

from devkit.errors import LockError
from devkit.tools import read_text
from kernelkit.files import open_atomically

__all__ = ["Lock", "LockedWheel", "read_lock", "write_lock"]

_TOOL = "kernelkit"


@dataclass(frozen=True)
class LockedWheel:
    """One wheel.

    Attributes
    ----------
    name, version
        Of the distribution. The name is canonical.
    file
        The wheel's own name.
    sha256
        Of the wheel.
    modules
        What one may import from it.
    why
        Why it is there.
    note
        What a user should know of it, or nothing.
    uploaded
        When the registry got it, if it says so. A lock does not keep that.
    """

    name: str
    version: str
    file: str
    sha256: str
    modules: tuple[str, ...] = ()
    why: str = ""
    note: str = ""
    uploaded: datetime | None = field(default=None, compare=False)

    @property
    def requirement(self) -> str:
        """The line of a requirements file that makes pip and uv check the hash."""
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}"


@dataclass(frozen=True)
class Lock:
    """The wheels that were resolved for a profile.

    Attributes
    ----------
    inputs
        A digest of what they were resolved from.
    wheels
        One per package.
    also
        What was asked for beside the inputs, since something turned out to need it.
    """

    inputs: str
    wheels: tuple[LockedWheel, ...]
    also: tuple[str, ...] = ()

    @property
    def names(self) -> frozenset[str]:
        """Canonical names of what is locked."""
        return frozenset(wheel.name for wheel in self.wheels)

    @property
    def modules(self) -> frozenset[str]:
        """What one may import from all the wheels."""
        return frozenset(module for wheel in self.wheels for module in wheel.modules)

    @property
    def requirements(self) -> str:
        """A requirements file that makes pip and uv install exactly these wheels."""
        return "".join(f"{wheel.requirement}\n" for wheel in self.wheels)


def write_lock(path: Path, lock: Lock, title: Iterable[str]) -> None:
    """Write `lock` to `path`, with the lines of `title` as comments at its head."""
    pylock = Pylock(
        lock_version=Version("1.0"),
        created_by=_TOOL,
        packages=[_package(wheel) for wheel in sorted(lock.wheels, key=lambda wheel: wheel.name)],
        tool={_TOOL: {"inputs": lock.inputs} | ({"also": list(lock.also)} if lock.also else {})},
    )
    pylock.validate()
    lines = [*(f"# {line}" for line in title), *_toml(pylock.to_dict())]
    with open_atomically(path) as file:
        file.write("\n".join(lines) + "\n")


def read_lock(path: Path) -> Lock | None:
    """Read the lock at `path`. The answer is None if there is none.

    Raises
    ------
    LockError
        It is no lock, or was edited into something that `write_lock` never writes.
    """
    if not path.is_file():
        return None
    try:
        pylock = Pylock.from_dict(tomllib.loads(read_text(path, LockError)))
        facts = (pylock.tool or {})[_TOOL]
        inputs, also = facts["inputs"], tuple(map(str, facts.get("also", ())))
        return Lock(str(inputs), tuple(map(_locked_wheel, pylock.packages)), also)
    except KeyError as error:
        raise LockError(
            f"{path} is not a lock as build_dataset.py writes it: it has no {error}. "
            "Remove the file and build again"
        ) from None
    except (TypeError, AttributeError, RecursionError):
        raise LockError(
            f"{path} is not a lock as build_dataset.py writes it: a table is something else. "
            "Remove the file and build again"
        ) from None
    except (PylockValidationError, ValueError) as error:
        if isinstance(error, LockError):
            raise
        raise LockError(
            f"{path} is not a lock as build_dataset.py writes it: {error}. "
            "Remove the file and build again"
        ) from None


def _package(wheel: LockedWheel) -> Package:
    facts = {"imports": list(wheel.modules), "why": wheel.why, "note": wheel.note}
    facts = {key: fact for key, fact in facts.items() if fact}
    return Package(
        name=canonicalize_name(wheel.name),
        version=Version(wheel.version),
        wheels=[PackageWheel(path=wheel.file, hashes={"sha256": wheel.sha256})],
        tool={_TOOL: facts} if facts else None,
    )


def _locked_wheel(package: Package) -> LockedWheel:
    if package.version is None or len(package.wheels or ()) != 1:
        raise ValueError(f"{package.name} does not have one version and one wheel")
    (wheel,) = package.wheels or ()
    if not re.fullmatch(r"[\w.+!-]+\.whl", wheel.filename):
        raise ValueError(f"{wheel.filename!r} is not the name of a wheel")
    if not re.fullmatch("[0-9a-f]{64}", str(wheel.hashes["sha256"])):
        raise ValueError(f"the sha256 of {package.name} is {wheel.hashes['sha256']!r}")
    facts = (package.tool or {}).get(_TOOL, {})
    return LockedWheel(
        name=package.name,
        version=str(package.version),
        file=wheel.filename,
        sha256=wheel.hashes["sha256"],
        modules=tuple(facts.get("imports", ())),
        why=str(facts.get("why", "")),
        note=str(facts.get("note", "")),
    )


def _toml(content: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Iterate over the lines of a lock: plain values, then the tables `tool` and `packages`."""
    for key, value in content.items():
        if key not in ("tool", "packages"):
            yield f"{key} = {_inline(value)}"
    for tool, facts in content.get("tool", {}).items():
        yield from ("", f"[{above}tool.{tool}]", *_toml(facts))
    for package in content.get("packages", ()):
        yield from ("", "[[packages]]", *_toml(package, "packages."))


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{key} = {_inline(inner)}' for key, inner in value.items())} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_inline, value))}]"
    # a string of JSON is one of TOML
    return json.dumps(value, ensure_ascii=False)
