"""Build kernelkit's wheel: for the dataset, and for pip as a backend of PEP 517.

Both get the same bytes, on any machine. The members of the wheel are sorted and dated 1980. They
are not compressed, since what zlib writes differs between its versions.

Standard library only: pip runs this in an empty environment. It stays at home: the dataset ships
the wheel alone.
"""

import base64
import hashlib
import tomllib
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["build_editable", "build_sdist", "build_wheel", "write_members", "write_wheel"]

SOURCE = Path(__file__).resolve().parent
LICENCE = SOURCE.parent / "LICENSE"

_EPOCH = (1980, 1, 1, 0, 0, 0)
_LEFT_OUT = ("__pycache__", ".pyc", ".pyo", "~")


class UnsupportedOperation(Exception):  # noqa: N818 - the name that PEP 517 wants
    """What this backend does not do."""


def build_wheel(
    wheel_directory: str,
    config_settings: Mapping[str, object] | None = None,
    metadata_directory: str | None = None,
) -> str:
    """Write the wheel for pip, and return its name."""
    return write_wheel(Path(wheel_directory)).name


def build_editable(
    wheel_directory: str,
    config_settings: Mapping[str, object] | None = None,
    metadata_directory: str | None = None,
) -> str:
    """Write a wheel for `pip install -e` that leads to the files here, and return its name."""
    project = _read_project(SOURCE)
    members = {f"{project['name']}.pth": f"{SOURCE}\n".encode()}
    return write_members(Path(wheel_directory), project, members).name


def build_sdist(
    sdist_directory: str,
    config_settings: Mapping[str, object] | None = None,
) -> str:
    """Refuse: the repository is the source."""
    raise UnsupportedOperation("kernelkit has no source archive. Build its wheel from a clone")


def write_wheel(folder: Path, source_folder: Path = SOURCE) -> Path:
    """Write the wheel of a project with one pure package, and return its path.

    Parameters
    ----------
    folder
        Where to write it.
    source_folder
        Holds `pyproject.toml` and the package. All files of the package are in the wheel.

    Raises
    ------
    ValueError
        `pyproject.toml` cannot be read, or the package states no version.
    """
    project = _read_project(source_folder)
    package = source_folder / project["name"]
    members = {
        path.relative_to(source_folder).as_posix(): path.read_bytes()
        for path in package.rglob("*")
        if path.is_file() and not _is_left_out(path.relative_to(package))
    }
    return write_members(folder, project, members)


def _read_project(source_folder: Path) -> dict[str, Any]:
    """The table `project`, with the version that the package's `__init__.py` states."""
    path = source_folder / "pyproject.toml"
    try:
        project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
        start = source_folder / project["name"] / "__init__.py"
        lines = start.read_text(encoding="utf-8").splitlines()
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as that of a package: {error!r}") from None
    versions = [line.split('"')[1] for line in lines if line.startswith('__version__ = "')]
    if len(versions) != 1:
        raise ValueError(
            f"{start}: found {len(versions)} lines like '__version__ = \"1.0\"', wanted 1. Write it"
        )
    return {**project, "version": versions[0]}


def write_members(folder: Path, project: Mapping[str, Any], members: dict[str, bytes]) -> Path:
    """Write a wheel of some files, and return its path.

    Parameters
    ----------
    folder
        Where to write it.
    project
        `name`, `version` and `description`, and what else the table of a pyproject.toml says. The
        licence lies beside this repository if it names one.
    members
        The bytes of each file, by the path that it is installed at. What a wheel says of itself is
        added.
    """
    stem = f"{project['name']}-{project['version']}"
    info = f"{stem}.dist-info"
    members[f"{info}/METADATA"] = _lines(_metadata(project))
    members[f"{info}/WHEEL"] = _lines(
        ("Wheel-Version: 1.0", "Generator: kernelkit", "Root-Is-Purelib: true", "Tag: py3-none-any")
    )
    if "license" in project:
        members[f"{info}/licenses/LICENSE"] = LICENCE.read_bytes()
    record = f"{info}/RECORD"
    listed = [_record_line(name, members[name]) for name in sorted(members)]
    members[record] = _lines((*listed, f"{record},,"))
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as wheel:
        for name in sorted(members):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system, entry.external_attr = 3, 0o100644 << 16
            wheel.writestr(entry, members[name])
    return path


def _metadata(project: Mapping[str, Any]) -> Iterable[str]:
    yield "Metadata-Version: 2.4"
    yield f"Name: {project['name']}"
    yield f"Version: {project['version']}"
    yield f"Summary: {project['description']}"
    yield f"Requires-Python: {project['requires-python']}"
    if "license" in project:
        yield f"License-Expression: {project['license']}"
        yield "License-File: LICENSE"
    for requirement in project.get("dependencies", ()):
        yield f"Requires-Dist: {requirement}"


def _is_left_out(path: Path) -> bool:
    return any(part.startswith(".") or part.endswith(_LEFT_OUT) for part in path.parts)


def _lines(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _record_line(name: str, content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(content)}"
