"""A dataset as it lies among Kaggle's mounts: its manifest, its files, and what the upload did.

An upload may double a folder or a file, rename a file, and unpack a wheel. Each is recognised, and
links restore the names. Every byte is checked against the manifest. If a wheel was unpacked, its
own list of hashes decides. The manifest holds the hash of that list.

Standard library only: this runs before anything is installed.
"""

import base64
import csv
import hashlib
import json
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

__all__ = [
    "MANIFEST",
    "WEIGHTS_MANIFEST",
    "BootstrapError",
    "doubled",
    "fingerprint_of",
    "place",
    "read_manifest",
    "verified",
]

MANIFEST = "kernelkit-manifest.json"
WEIGHTS_MANIFEST = "kernelkit-weights.json"


class BootstrapError(RuntimeError):
    """The dataset cannot be used in this session. The message says why and what to do."""


def fingerprint_of(files: Iterable[Mapping[str, Any]], target: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a dataset.

    It covers the names and hashes of the files, and what the dataset is made for.

    Parameters
    ----------
    files
        The entries of the manifest.
    target
        What the dataset is made for.
    """
    lines = sorted(f"{entry['safe_name']} {entry['sha256']}" for entry in files)
    lines.append(json.dumps(target, sort_keys=True))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def read_manifest(path: Path) -> dict[str, Any]:
    """Read the manifest at `path`. It is what it was when it was made.

    Raises
    ------
    BootstrapError
        It was changed, or names a file that lies outside of its dataset.
    """
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        computed = fingerprint_of(manifest["files"], manifest["target"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BootstrapError(
            f"{path} cannot be read: {error!r}. Build the dataset and upload it again"
        ) from None
    if manifest.get("fingerprint") != computed:
        raise BootstrapError(
            f"{path} was changed after it was made. Build the dataset and upload it again"
        )
    names = [entry[key] for entry in manifest["files"] for key in ("name", "safe_name")]
    for name in (*names, *manifest["target"].get("configurations", ())):
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise BootstrapError(
                f"{path} names a file outside of its folder: {name}. Take another dataset"
            )
    return manifest


def verified(folder: Path, entries: Sequence[Mapping[str, Any]]) -> dict[str, Path]:
    """Find each file, by original name: a file of the right hash, or an unpacked wheel.

    Raises
    ------
    BootstrapError
        It names all that is missing or changed.
    """
    hashes = _Hashes()
    found, problems = {}, []
    with ThreadPoolExecutor(8) as pool:
        searches = [pool.submit(_find, folder, entry, hashes) for entry in entries]
    for entry, search in zip(entries, searches, strict=True):
        try:
            found[entry["name"]] = search.result()
        except BootstrapError as error:
            problems.append(str(error))
    if problems:
        raise BootstrapError(
            f"the dataset at {folder} is not what was packed. {'. '.join(problems)}. "
            "Upload it again"
        )
    return found


class _Hashes(dict[Path, str]):
    """The SHA-256 of files, each computed once."""

    def __missing__(self, path: Path) -> str:
        with path.open("rb") as file:
            self[path] = hashlib.file_digest(file, "sha256").hexdigest()
        return self[path]


def _find(folder: Path, entry: Mapping[str, Any], hashes: _Hashes) -> Path:
    """Find one file, or say what is wrong with it."""
    name = entry["name"]
    stripped = re.sub(r"[^A-Za-z0-9._-]", "", name)
    named = [folder / known for known in dict.fromkeys((entry["safe_name"], name, stripped))]
    # Kaggle was seen to put a file into a folder of its own name
    files = [path for known in named for path in (known, known / known.name) if path.is_file()]
    for path in files:
        if hashes[path] == entry["sha256"]:
            return path
    if "record_sha256" in entry:
        outer = [path for known in named for path in (known, known.with_suffix(""))]
        for unpacked_folder in (inner for path in outer for inner in (path, path / path.name)):
            if any(unpacked_folder.glob("*.dist-info")):
                _check_unpacked(unpacked_folder, entry)
                return unpacked_folder
    if files:
        raise BootstrapError(
            f"{files[0].name} was changed: its SHA-256 is {hashes[files[0]][:12]}, not "
            f"{entry['sha256'][:12]}"
        )
    # renamed altogether: the contents tell
    for path in _files_of_size(folder, entry["size"]):
        if hashes[path] == entry["sha256"]:
            return path
    raise BootstrapError(f"{name} is missing")


def _files_of_size(folder: Path, size: int) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.is_file() and path.stat().st_size == size)


def _check_unpacked(unpacked_folder: Path, entry: Mapping[str, Any]) -> None:
    """Check a wheel that the upload unpacked by its own list of hashes."""
    unpacked = f"{entry['name']} was unpacked, and its"
    records = list(unpacked_folder.glob("*.dist-info/RECORD"))
    if not records:
        raise BootstrapError(f"{unpacked} list of files is missing")
    if hashlib.sha256(records[0].read_bytes()).hexdigest() != entry["record_sha256"]:
        raise BootstrapError(f"{unpacked} list of files was changed")
    for name, digest in _record(records[0]):
        path = unpacked_folder / name
        if not path.is_file():
            raise BootstrapError(f"{unpacked} {name} is missing")
        if digest and _record_digest(path) != digest:
            raise BootstrapError(f"{unpacked} {name} was changed")


def _record(path: Path) -> Iterator[tuple[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        yield from ((row[0], row[1]) for row in csv.reader(file) if row)


def _record_digest(path: Path) -> str:
    digest = hashlib.sha256(path.read_bytes()).digest()
    return "sha256=" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def doubled(folder: Path, manifest: str) -> Path | None:
    """Return the folder that holds the manifest: `folder`, or one of its own name within."""
    for candidate in (folder, folder / folder.name):
        if (candidate / manifest).is_file():
            return candidate
    return None


def place(source: Path, target: Path) -> None:
    """Make the file `source` appear at `target` by a link. An unpacked wheel is packed again."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    if source.is_dir():
        with zipfile.ZipFile(target, "w") as wheel:
            for name, _ in _record(next(source.glob("*.dist-info/RECORD"))):
                wheel.write(source / name, name)
    else:
        target.symlink_to(source)
