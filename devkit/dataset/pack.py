"""Pack the kernel dataset: kernelkit as a wheel, its vendored wheels, the bootstrap, a manifest.

All lie flat in one folder, since the client leaves folders out. The same sources give the same
bytes on any machine: members of the wheel are sorted, stored without compression (whose output
differs between versions of zlib), and dated 1980.
"""

import base64
import hashlib
import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mounted
from devkit.dataset.limits import check_upload, replace_dataset, safe_name
from devkit.dataset.listing import CLIENT_FILE, Listing
from devkit.errors import DatasetError
from devkit.image.profiles import Profile
from devkit.lint import KERNEL_SOURCE
from devkit.tools import REPOSITORY
from devkit.wheels.wheelfile import Wheel, read_wheel
from kernelkit.files import file_sha256

__all__ = ["Packed", "build_wheel", "pack", "write_json", "write_manifest"]

_EPOCH = (1980, 1, 1, 0, 0, 0)
_LEFT_OUT = ("__pycache__", ".pyc", ".pyo", "~")
_BESIDE = (("bootstrap.py", "installs the wheels"), ("mounted.py", "finds and checks them"))
_WATCHED = ("torch", "torchvision", "numpy")


@dataclass(frozen=True)
class Packed:
    """A dataset on disk: its folder and its manifest."""

    folder: Path
    manifest: Mapping[str, Any]

    @property
    def fingerprint(self) -> str:
        """Of all that it holds."""
        return str(self.manifest["fingerprint"])

    @property
    def files(self) -> Sequence[Mapping[str, Any]]:
        """The entries of the manifest."""
        return list(self.manifest["files"])


def build_wheel(package: Path, version: str, folder: Path) -> Path:
    """Write the pure wheel of a package's folder, recipes and all, and return its path."""
    name = package.name
    home = f"{name}-{version}.dist-info"
    members = {
        path.relative_to(package.parent).as_posix(): path.read_bytes()
        for path in package.rglob("*")
        if path.is_file() and not _is_left_out(path.relative_to(package))
    }
    metadata = [f"Name: {name}", f"Version: {version}", "Requires-Python: >=3.12"]
    metadata += ["License-Expression: Apache-2.0", "License-File: LICENSE"]
    tags = ["Root-Is-Purelib: true", "Tag: py3-none-any"]
    members[f"{home}/METADATA"] = _header("Metadata-Version: 2.4", *metadata)
    members[f"{home}/WHEEL"] = _header("Wheel-Version: 1.0", "Generator: kernelkit", *tags)
    members[f"{home}/licenses/LICENSE"] = (REPOSITORY / "LICENSE").read_bytes()
    record = f"{home}/RECORD"
    lines = [*(_record_line(key, members[key]) for key in sorted(members)), f"{record},,"]
    members[record] = _header(*lines)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as wheel:
        for key in sorted(members):
            info = zipfile.ZipInfo(key, _EPOCH)
            info.create_system, info.external_attr = 3, 0o100644 << 16
            wheel.writestr(info, members[key])
    return path


def pack(
    profile: Profile,
    wheels: Sequence[Wheel],
    reasons: Mapping[str, str],
    listing: Listing,
    folder: Path,
    source: Path = KERNEL_SOURCE,
) -> Packed:
    """Write the dataset into `folder`, whose old contents go only once the new are checked.

    Parameters
    ----------
    wheels
        The vendored ones.
    reasons
        Why each is there, by canonical name.
    source
        The folder with the bootstrap and the package.

    Raises
    ------
    DatasetError
        When Kaggle would refuse or mangle it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".packing-") as place:
        stage = Path(place) / "dataset"
        stage.mkdir()
        package = source / "kernelkit"
        own = read_wheel(build_wheel(package, package_version(package), Path(place)))
        entries = [_pack_file(source / name, stage, "bootstrap", why) for name, why in _BESIDE]
        for wheel in (own, *wheels):
            why = reasons.get(wheel.name, "the package itself")
            entry = _pack_file(wheel.path, stage, "wheel", why)
            entry |= {"tags": wheel.tag_names, "modules": list(wheel.modules)}
            entries.append(entry | {"record_sha256": wheel.record_sha256})
        manifest = write_manifest(stage / mounted.MANIFEST, entries, _target(profile))
        write_json(stage / CLIENT_FILE, listing.as_metadata())
        check_upload(stage, listing)
        replace_dataset(stage, folder)
    return Packed(folder, manifest)


def package_version(package: Path) -> str:
    """The `__version__` that a package's `__init__.py` states.

    Raises
    ------
    DatasetError
        When it states none.
    """
    for line in (package / "__init__.py").read_text(encoding="utf-8").splitlines():
        if line.startswith("__version__ = "):
            return line.split('"')[1]
    raise DatasetError(f"{package / '__init__.py'}: it has no line '__version__ = \"...\"'")


def write_manifest(
    path: Path, entries: Iterable[Mapping[str, Any]], target: Mapping[str, Any]
) -> dict[str, Any]:
    """Write the manifest of a dataset and return it.

    Raises
    ------
    DatasetError
        When two files would get the same name.
    """
    files = sorted(entries, key=lambda entry: str(entry["name"]))
    names = [entry["safe_name"] for entry in files]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DatasetError(f"{path.parent}: two files would be named {', '.join(twice)}")
    fingerprint = mounted.fingerprint_of(files, target)
    manifest = {"fingerprint": fingerprint, "target": dict(target), "files": files}
    write_json(path, manifest)
    return manifest


def _is_left_out(path: Path) -> bool:
    return any(part.startswith(".") or part.endswith(_LEFT_OUT) for part in path.parts)


def _header(*lines: str) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _record_line(name: str, content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(content)}"


def _pack_file(path: Path, stage: Path, kind: str, why: str) -> dict[str, Any]:
    target = stage / safe_name(path.name)
    shutil.copyfile(path, target)
    return {
        "name": path.name,
        "safe_name": target.name,
        "sha256": file_sha256(target),
        "size": target.stat().st_size,
        "kind": kind,
        "why": why,
    }


def _target(profile: Profile) -> dict[str, Any]:
    """What the dataset is made for, as the bootstrap compares it with what it finds."""
    versions = {
        name: str(profile.packages[name].version) for name in _WATCHED if profile.is_pinned(name)
    }
    return {
        "profile": profile.name,
        "python": profile.markers["python_version"],
        "glibc": profile.glibc,
        "machine": profile.machine,
        "image": versions,
    }


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` in the one form that is the same on every machine."""
    path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
