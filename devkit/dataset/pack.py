"""Pack the kernel dataset: kernelkit, own code and what is vendored as wheels, and a manifest.

All lie flat in one folder, since the client leaves folders out. The same sources give the same
bytes on any machine.
"""

import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mounted
from build_backend import write_wheel
from devkit.competitions import OwnCompetition
from devkit.dataset.limits import check_upload, replace_dataset, safe_name
from devkit.dataset.listing import CLIENT_FILE, Listing
from devkit.dataset.own import own_wheel
from devkit.dataset.recipes import recipes_wheel
from devkit.errors import DatasetError
from devkit.image.profiles import Profile
from devkit.lint import KERNEL_SOURCE
from devkit.wheels.wheelfile import Wheel, read_wheel
from kernelkit.files import file_sha256
from kernelkit.own import OWN_DISTRIBUTION, OwnCode
from kernelkit.own_recipes import RECIPES_DISTRIBUTION

__all__ = ["Packed", "pack", "write_json", "write_manifest"]

_BESIDE = (("bootstrap.py", "installs the wheels"), ("mounted.py", "finds and checks them"))
_WATCHED = ("torch", "torchvision", "numpy")


@dataclass(frozen=True)
class Packed:
    """A dataset on disk.

    Attributes
    ----------
    folder
        Where it lies.
    manifest
        What its manifest says.
    """

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


def pack(
    profile: Profile,
    wheels: Sequence[Wheel],
    reasons: Mapping[str, str],
    listing: Listing,
    folder: Path,
    source_folder: Path = KERNEL_SOURCE,
    own: OwnCode | None = None,
    competition: OwnCompetition | None = None,
) -> Packed:
    """Write the dataset into `folder`. Its old contents go only once the new are checked.

    Parameters
    ----------
    profile
        The image.
    wheels
        The vendored ones.
    reasons
        Why each is there, by canonical name.
    listing
        How the dataset is listed on Kaggle.
    folder
        Where to write it.
    source_folder
        The folder with the bootstrap, the package and its `pyproject.toml`.
    own
        Code of the user's own, which becomes a wheel too.
    competition
        A competition of the user's own, whose recipes become a wheel too.

    Raises
    ------
    DatasetError
        The package cannot be built, or Kaggle would refuse or mangle the dataset.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".packing-") as name:
        staging_folder = Path(name) / "dataset"
        staging_folder.mkdir()
        entries = [
            _pack_file(source_folder / file, staging_folder, "bootstrap", w) for file, w in _BESIDE
        ]
        ours = [_package_wheel(source_folder, Path(name))]
        if own is not None:
            ours.append(own_wheel(own, Path(name)))
            reasons = {**reasons, OWN_DISTRIBUTION: f"your own code: {', '.join(own.modules)}"}
        if competition is not None:
            ours.append(recipes_wheel(competition, Path(name)))
            reasons = {**reasons, RECIPES_DISTRIBUTION: f"the recipes of {competition.name}"}
        for wheel in (*ours, *wheels):
            why = reasons.get(wheel.name, "the package itself")
            entry = _pack_file(wheel.path, staging_folder, "wheel", why)
            entry |= {"tags": wheel.tag_names, "modules": list(wheel.modules)}
            entries.append(entry | {"record_sha256": wheel.record_sha256})
        manifest = write_manifest(staging_folder / mounted.MANIFEST, entries, _target(profile))
        write_json(staging_folder / CLIENT_FILE, listing.as_metadata())
        check_upload(staging_folder, listing)
        replace_dataset(staging_folder, folder)
    return Packed(folder, manifest)


def _package_wheel(source_folder: Path, folder: Path) -> Wheel:
    try:
        return read_wheel(write_wheel(folder, source_folder))
    except ValueError as error:
        raise DatasetError(str(error)) from None


def write_manifest(
    path: Path, entries: Iterable[Mapping[str, Any]], target: Mapping[str, Any]
) -> dict[str, Any]:
    """Write the manifest of a dataset and return it.

    Parameters
    ----------
    path
        Where to write it.
    entries
        One per file of the dataset.
    target
        What the dataset is made for.

    Raises
    ------
    DatasetError
        Two files would get the same name.
    """
    files = sorted(entries, key=lambda entry: str(entry["name"]))
    names = [entry["safe_name"] for entry in files]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DatasetError(
            f"{path.parent}: two files would be named {', '.join(twice)}. Rename one of them"
        )
    fingerprint = mounted.fingerprint_of(files, target)
    manifest = {"fingerprint": fingerprint, "target": dict(target), "files": files}
    write_json(path, manifest)
    return manifest


def _pack_file(path: Path, staging_folder: Path, kind: str, why: str) -> dict[str, Any]:
    target = staging_folder / safe_name(path.name)
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
