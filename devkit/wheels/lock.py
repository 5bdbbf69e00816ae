"""Locks: which wheel, to the byte, stands for each package, and why it is there.

A lock is a requirements file that pip understands, one hash a package, so that what is fetched is
what was reviewed; the comments below each line carry what a build without a network wants to know.
It records no address.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from devkit.errors import ResolveError

__all__ = ["Lock", "LockedWheel", "read_lock", "write_lock"]

_LINE = re.compile(r"(?P<name>[\w.-]+)==(?P<version>\S+) --hash=sha256:(?P<sha256>[0-9a-f]{64})")
_COMMENT = re.compile(r"\s+# (file|imports|why|note): (.*)")
_INPUTS = "# resolved from: "


@dataclass(frozen=True)
class LockedWheel:
    """One wheel.

    Attributes
    ----------
    name, version
        Of the distribution; the name is canonical.
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
    """

    name: str
    version: str
    file: str
    sha256: str
    modules: tuple[str, ...] = ()
    why: str = ""
    note: str = ""

    @property
    def requirement(self) -> str:
        """As pip's hash-checking mode reads it."""
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}"


@dataclass(frozen=True)
class Lock:
    """The wheels of a profile, and a digest of what they were resolved from."""

    inputs: str
    wheels: tuple[LockedWheel, ...]

    @property
    def names(self) -> frozenset[str]:
        """Canonical names of what is locked."""
        return frozenset(wheel.name for wheel in self.wheels)


def write_lock(path: Path, lock: Lock, title: Iterable[str]) -> None:
    """Write `lock` to `path`, `title` at its head."""
    lines = [*(f"# {line}" for line in title), f"{_INPUTS}{lock.inputs}"]
    for wheel in sorted(lock.wheels, key=lambda wheel: wheel.name):
        lines.append(wheel.requirement)
        comments = {
            "file": wheel.file,
            "imports": " ".join(wheel.modules),
            "why": wheel.why,
            "note": wheel.note,
        }
        lines += [f"    # {key}: {value}" for key, value in comments.items() if value]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_lock(path: Path) -> Lock | None:
    """The lock that lies at `path`, or None where there is none.

    Raises
    ------
    ResolveError
        When a line of it was edited into something else.
    """
    if not path.is_file():
        return None
    inputs = ""
    entries: list[dict[str, str]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith(_INPUTS):
            inputs = line.removeprefix(_INPUTS)
        elif comment := _COMMENT.fullmatch(line):
            entries[-1][comment[1]] = comment[2]
        elif entry := _LINE.fullmatch(line):
            entries.append(entry.groupdict())
        elif line and not line.startswith("#"):
            raise ResolveError(
                f"{path}:{number}: '{line}' is no line of a lock; remove the file and build again"
            )
    return Lock(inputs, tuple(_wheel(entry) for entry in entries))


def _wheel(entry: dict[str, str]) -> LockedWheel:
    modules = tuple(entry.pop("imports", "").split())
    return LockedWheel(file=entry.pop("file", ""), modules=modules, **entry)
