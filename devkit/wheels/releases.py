"""Releases of a package that the registry has, sources included, and when they came out.

The resolver takes wheels only. If the newer releases of a package are sources, it goes back to the
newest wheel in silence, and that may be years old. pip knows all releases.
"""

import contextlib
import json
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

from packaging.specifiers import SpecifierSet
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion, Version

from devkit.errors import ToolError
from devkit.tools import run_tool
from devkit.wheels.downloads import WheelSource

__all__ = ["is_old", "newest_release"]

# A release that came out so much later makes another one old.
_OLD = timedelta(days=365)


def newest_release(
    name: str, allowed: Iterable[SpecifierSet], source: WheelSource
) -> Version | None:
    """Return the newest stable release that all requirements allow, or None if none is known.

    Parameters
    ----------
    name
        The package.
    allowed
        What is required of its version.
    source
        Where releases are looked for.
    """
    specifiers = list(allowed)
    fit = [
        version
        for version in _releases(name, source)
        if not version.is_prerelease and all(s.contains(version) for s in specifiers)
    ]
    return max(fit, default=None)


def is_old(uploaded: datetime, name: str, newest: Version, source: WheelSource) -> bool:
    """Whether `newest` came out more than a year after what was uploaded at `uploaded`."""
    return newest not in _releases(name, source, until=uploaded + _OLD)


def _releases(name: str, source: WheelSource, until: datetime | None = None) -> list[Version]:
    if source.no_index:
        return list(_in_folders(name, source))
    command: list[str | Path] = [sys.executable, "-m", "pip", "index", "versions", "--json"]
    command += ["--disable-pip-version-check", *source.options]
    command += ["--uploaded-prior-to", until.isoformat()] if until else []
    try:
        listed = json.loads(run_tool([*command, name], timeout=300))["versions"]
    except ToolError as error:
        if "No matching distribution" not in error.output:
            raise
        return []
    except (ValueError, KeyError, TypeError):
        raise ToolError(f"pip does not list the versions of {name}. Try it again") from None
    return [version for text in listed if (version := _version(text)) is not None]


def _in_folders(name: str, source: WheelSource) -> Iterator[Version]:
    for path in (path for folder in source.folders for path in folder.iterdir()):
        with contextlib.suppress(InvalidWheelFilename, InvalidSdistFilename):
            is_wheel = path.suffix == ".whl"
            parts = parse_wheel_filename(path.name) if is_wheel else parse_sdist_filename(path.name)
            if parts[0] == name:
                yield parts[1]


def _version(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None
