"""A dataset as it lies among Kaggle's mounts: its manifest, its files, and what the upload did.

An upload may double a folder or a file, rename a file, and unpack a wheel. Each is recognised, and
the names are restored. Every byte is checked against the manifest. If a wheel was unpacked, its own
list of hashes decides. The manifest holds the hash of that list.

Nothing that is mounted is trusted with a path. Names stay inside, and links are never written
through.

Standard library only: this runs before anything is installed.
"""

import base64
import contextlib
import csv
import functools
import hashlib
import io
import json
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

__all__ = [
    "MANIFEST",
    "WEIGHTS_MANIFEST",
    "BootstrapError",
    "check_manifest",
    "copy_wheel",
    "doubled",
    "fingerprint_of",
    "is_inside",
    "place",
    "read_manifest",
    "replaced",
    "verified",
]

MANIFEST = "kernelkit-manifest.json"
WEIGHTS_MANIFEST = "kernelkit-weights.json"

_AGAIN = "Build the dataset and upload it again"
# Bytes of one part of a path, on any file system of Linux.
_LONGEST_NAME = 255


class BootstrapError(RuntimeError):
    """The dataset cannot be used in this session. The message says why and what to do."""


def fingerprint_of(files: Iterable[Mapping[str, Any]], target: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a dataset. The notebook's first cell computes the same.

    It covers all that is acted on: names, hashes and imports of the files, and what the dataset is
    made for. The reasons why a file is there are only read.

    Parameters
    ----------
    files
        The entries of the manifest.
    target
        What the dataset is made for.
    """
    listed = [{**entry, "why": ""} for entry in files]
    content = json.dumps([listed, target], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def read_manifest(path: Path) -> dict[str, Any]:
    """Read the manifest at `path`. It is what it was when it was made.

    Raises
    ------
    BootstrapError
        It cannot be read, or is not what `check_manifest` wants.
    """
    try:
        manifest = json.loads(path.read_bytes())
    except OSError as error:
        reason = error.strerror
    except (ValueError, RecursionError):
        reason = "it is not JSON of a manifest"
    else:
        return check_manifest(manifest, path)
    raise BootstrapError(f"{path} cannot be read: {reason}. {_AGAIN}")


def check_manifest(manifest: Any, path: Path) -> dict[str, Any]:
    """Check that a manifest says all that is needed, as it was made, and names only its own files.

    `manifest` is as JSON has it, and lies at `path`. It is returned.

    Raises
    ------
    BootstrapError
        A field is missing or odd, it was changed, or it names a file outside of its dataset.
    """
    _check(path, "it", manifest, "a table")
    _check(path, "files", manifest.get("files"), "a list")
    _check(path, "target", manifest.get("target"), "a table")
    files, target = manifest["files"], manifest["target"]
    for number, entry in enumerate(files, 1):
        _check(path, f"file {number}", entry, "a table")
    try:
        computed = fingerprint_of(files, target)
    except RecursionError:
        raise BootstrapError(f"{path} cannot be read: it is nested too deep. {_AGAIN}") from None
    if manifest.get("fingerprint") != computed:
        raise BootstrapError(f"{path} was changed after it was made. {_AGAIN}")
    is_kernel = path.name != WEIGHTS_MANIFEST
    for number, entry in enumerate(files, 1):
        _check_table(path, f"file {number}", entry, _forms_of(entry, is_kernel))
    names = [entry["name"] for entry in files]
    _check_table(path, "target", target, _TARGET if is_kernel else _WEIGHTS_TARGET)
    if not is_kernel:
        for name in target["configurations"]:
            _check(path, "a name in configurations", name, "a name")
            _check_inside(path, name)
        names += target["configurations"]
    _check_places(path, names)
    return dict(manifest)


def is_inside(name: str) -> bool:
    """Whether the name of a file is relative and leads to no folder above.

    >>> [is_inside(name) for name in ("a/b.py", "../b.py", "/b.py", "a/../../b.py")]
    [True, False, False, False]
    """
    path = PurePosixPath(name.replace("\\", "/"))
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def _is_text(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(value.encode())
    except UnicodeEncodeError:  # half of a surrogate pair
        return False


def _is_name(value: Any) -> bool:
    return (
        _is_text(value)
        and value.isprintable()
        and all(0 < len(part.encode()) <= _LONGEST_NAME for part in value.strip("/").split("/"))
    )


def _is_module(value: Any) -> bool:
    return isinstance(value, str) and all(part.isidentifier() for part in value.split("."))


def _is_table(value: Any, holds: Callable[[Any], bool]) -> bool:
    return isinstance(value, dict) and all(map(_is_text, value)) and all(map(holds, value.values()))


# What a field may be: in words, and as code.
_FORMS: dict[str, Callable[[Any], bool]] = {
    "a table": lambda value: isinstance(value, dict),
    "a list": lambda value: isinstance(value, list),
    "a name": _is_name,
    "a SHA-256": lambda value: isinstance(value, str) and bool(re.fullmatch("[0-9a-f]{64}", value)),
    "a number of bytes": lambda value: type(value) is int and value >= 0,
    "wheel or bootstrap": lambda value: value in ("wheel", "bootstrap"),
    "a list of module names": lambda value: isinstance(value, list) and all(map(_is_module, value)),
    "a text": _is_text,
    "a version": lambda value: isinstance(value, str) and bool(re.fullmatch(r"\d+(\.\d+)+", value)),
    "a table of texts": lambda value: _is_table(value, lambda text: text == "" or _is_text(text)),
}
_TARGET = {
    **{"profile": "a text", "python": "a version", "glibc": "a version"},
    **{"machine": "a text", "image": "a table of texts"},
}
_WEIGHTS_TARGET = {"configurations": "a table of texts"}
_FILE = {
    **{"name": "a name", "safe_name": "a name"},
    **{"sha256": "a SHA-256", "size": "a number of bytes"},
}


def _forms_of(entry: Mapping[str, Any], is_kernel: bool) -> dict[str, str]:
    """What the fields of a file may be."""
    forms = dict(_FILE)
    is_wheel = entry.get("kind") == "wheel"
    if is_kernel:
        forms["kind"] = "wheel or bootstrap"
    if is_wheel:
        forms["modules"] = "a list of module names"
    if is_wheel or "record_sha256" in entry:
        forms["record_sha256"] = "a SHA-256"
    return forms


def _check_table(
    path: Path, where: str, table: Mapping[str, Any], forms: Mapping[str, str]
) -> None:
    for key, form in forms.items():
        _check(path, f"{key} of {where}", table.get(key), form)
        if form == "a name":
            _check_inside(path, table[key])


def _check(path: Path, what: str, value: Any, form: str) -> None:
    if not _FORMS[form](value):
        shown = ascii(value)
        found = "nothing" if value is None else shown if len(shown) <= 60 else f"{shown[:60]}..."
        raise BootstrapError(f"{path}: {what} is {found}, wanted {form}. {_AGAIN}")


def _check_inside(path: Path, name: str) -> None:
    if not is_inside(name):
        raise BootstrapError(
            f"{path} names a file outside of its folder: {name}. Take another dataset"
        )


def _check_places(path: Path, names: Sequence[str]) -> None:
    """Refuse two files at one place, and a file at the place of a folder."""
    places = [PurePosixPath(name) for name in names]
    folders = {parent for place in places for parent in place.parents}
    for place in places:
        if places.count(place) > 1 or place in folders:
            raise BootstrapError(f"{path} puts two things at {place}. Take another dataset")


def verified(folder: Path, entries: Sequence[Mapping[str, Any]]) -> dict[str, Path]:
    """Find each file, by original name: a file of the right hash, or an unpacked wheel.

    Raises
    ------
    BootstrapError
        It names all that is missing or changed.
    """
    hash_of = functools.cache(_sha256)
    found, problems = {}, []
    with ThreadPoolExecutor(8) as pool:
        searches = [pool.submit(_find, folder, entry, hash_of) for entry in entries]
    for entry, search in zip(entries, searches, strict=True):
        try:
            found[entry["name"]] = search.result()
        except BootstrapError as error:
            problems.append(str(error))
        except OSError as error:
            problems.append(f"{entry['name']} cannot be read ({error.strerror})")
    if problems:
        raise BootstrapError(
            f"the dataset at {folder} is not what was packed. {'. '.join(problems)}. "
            "Upload it again"
        )
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _find(folder: Path, entry: Mapping[str, Any], hash_of: Callable[[Path], str]) -> Path:
    """Find one file, or say what is wrong with it."""
    name = entry["name"]
    stripped = re.sub(r"[^A-Za-z0-9._-]", "", name)
    names = [known for known in dict.fromkeys((entry["safe_name"], name, stripped)) if known]
    named = [folder / known for known in names]
    # Kaggle was seen to put a file into a folder of its own name
    files = [path for known in named for path in (known, known / known.name) if path.is_file()]
    for path in files:
        if hash_of(path) == entry["sha256"]:
            return path
    if "record_sha256" in entry:
        outer = [path for known in named for path in (known, known.with_suffix(""))]
        for unpacked_folder in (inner for path in outer for inner in (path, path / path.name)):
            if any(unpacked_folder.glob("*.dist-info")):
                for _ in _members(unpacked_folder, entry):
                    pass
                return unpacked_folder
    if files:
        raise BootstrapError(
            f"{files[0].name} was changed: its SHA-256 is {hash_of(files[0])[:12]}, not "
            f"{entry['sha256'][:12]}"
        )
    # renamed altogether: the contents tell
    for path in folder.iterdir():
        is_as_large = path.is_file() and path.stat().st_size == entry["size"]
        if is_as_large and hash_of(path) == entry["sha256"]:
            return path
    raise BootstrapError(f"{name} is missing")


def _members(
    unpacked_folder: Path, entry: Mapping[str, Any] | None = None
) -> Iterator[tuple[str, bytes]]:
    """The names and bytes of a wheel that the upload unpacked, checked by its own list of hashes.

    That list is checked by the manifest's `entry`.
    """
    unpacked = f"{entry['name'] if entry else unpacked_folder.name} was unpacked, and its"
    records = list(unpacked_folder.glob("*.dist-info/RECORD"))
    if len(records) != 1:
        raise BootstrapError(f"{unpacked} list of files is missing")
    record = _bytes_inside(records[0], unpacked_folder, unpacked)
    if entry and hashlib.sha256(record).hexdigest() != entry["record_sha256"]:
        raise BootstrapError(f"{unpacked} list of files was changed")
    own_name = records[0].relative_to(unpacked_folder).as_posix()
    try:
        rows = [row for row in csv.reader(io.StringIO(record.decode(), newline="")) if row]
    except (ValueError, csv.Error):
        raise BootstrapError(f"{unpacked} list of files is not one of a wheel") from None
    for name, digest, *_ in ((*row, "") for row in rows):
        if not _is_name(name) or not is_inside(name):
            raise BootstrapError(f"{unpacked} list of files names {name!a}, outside of it")
        if name == own_name:
            yield name, record
        elif name not in (f"{own_name}.jws", f"{own_name}.p7s"):
            content = _bytes_inside(unpacked_folder / name, unpacked_folder, unpacked)
            if not _has_digest(content, digest):
                raise BootstrapError(f"{unpacked} {name} was changed")
            yield name, content


def _bytes_inside(path: Path, folder: Path, unpacked: str) -> bytes:
    """The bytes of a file that lies in the folder itself, whatever links there are."""
    name = path.relative_to(folder)
    if not path.resolve().is_relative_to(folder.resolve()):
        raise BootstrapError(f"{unpacked} {name} is a link that leads outside of it")
    if not path.is_file():
        raise BootstrapError(f"{unpacked} {name} is missing")
    return path.read_bytes()


def _has_digest(content: bytes, digest: str) -> bool:
    """Whether a digest of a wheel's list, such as `sha256=...`, is that of the content."""
    algorithm = digest.split("=")[0]
    if algorithm not in ("sha256", "sha384", "sha512"):
        return False
    encoded = base64.urlsafe_b64encode(hashlib.new(algorithm, content).digest())
    return digest == f"{algorithm}={encoded.rstrip(b'=').decode()}"


def doubled(folder: Path, manifest: str) -> Path | None:
    """Return the folder that holds the manifest: `folder`, or one of its own name within."""
    for candidate in (folder, folder / folder.name):
        if (candidate / manifest).is_file():
            return candidate
    return None


def place(source: Path, target: Path) -> None:
    """Make the file `source` appear at `target` by a link. An unpacked wheel is packed again.

    What is at `target` is replaced. If that is a link, the file that it names stays as it is.
    """
    source = source.absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    if source.is_dir():
        _pack(source, target)
    else:
        target.symlink_to(source)


def _pack(unpacked_folder: Path, target: Path, entry: Mapping[str, Any] | None = None) -> None:
    """Write the wheel that the upload unpacked, checked as in `_members`."""
    with target.open("xb") as file, zipfile.ZipFile(file, "w") as wheel:
        for name, content in _members(unpacked_folder, entry):
            wheel.writestr(name, content)


def copy_wheel(source: Path, target: Path, entry: Mapping[str, Any]) -> None:
    """Copy a wheel, and check the copy. What is installed are thus the bytes that were checked.

    `source` is the wheel, or the folder that an upload made of it. Nothing lies at `target`.

    Raises
    ------
    BootstrapError
        The copy is not what was packed, or has a member that would lie outside.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        _pack(source, target, entry)
    else:
        with source.open("rb") as original, target.open("xb") as file:
            shutil.copyfileobj(original, file)
        if _sha256(target) != entry["sha256"]:
            raise BootstrapError(f"{source} was changed. Upload the dataset again")
    try:
        with zipfile.ZipFile(target) as wheel:
            outside = [name for name in wheel.namelist() if not is_inside(name)]
    except zipfile.BadZipFile:
        raise BootstrapError(f"{source} is not a wheel that can be read. {_AGAIN}") from None
    if outside:
        raise BootstrapError(f"{source} has a member outside of it: {outside[0]}. {_AGAIN}")


@contextlib.contextmanager
def replaced(folder: Path) -> Iterator[Path]:
    """Give a fresh folder to fill. After the block it takes the place of `folder`.

    What was there is never written to. If the block raises, it stays.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    around = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        unfinished = around / "new"
        unfinished.mkdir()
        yield unfinished
        old = around / "old"
        if os.path.lexists(folder):
            folder.rename(old)
        try:
            unfinished.rename(folder)
        except BaseException:
            if os.path.lexists(old):
                old.rename(folder)
            raise
    finally:
        shutil.rmtree(around, ignore_errors=True)
