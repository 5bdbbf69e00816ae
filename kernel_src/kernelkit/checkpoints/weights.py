"""Read weights from a file of any form, and never run code from it.

`.pth`, `.pth.tar`, `.pt`, `.bin`, `.ckpt` and `.pkl` files are unpickled with `weights_only`.
Tensors, plain containers and numpy scalars (such as a loss) load, and everything else is refused.
`.safetensors` holds no code. A `.pth` is a zip file, and the upload of a dataset may unpack it.
Such a folder loads too.

What is read may hold several sets of weights. `stored_states` finds them, and `states.choose_state`
chooses one.
"""

import argparse
import io
import pathlib
import pickle
import re
import threading
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from kernelkit.checkpoints.checkpoint_files import pickle_folder
from kernelkit.checkpoints.stored_states import Stored, states_in
from kernelkit.errors import CheckpointError, listed
from kernelkit.files import DAMAGED_ARCHIVE
from kernelkit.memory import available_memory

__all__ = ["read_weights"]

# How a pickle begins, and how one that torch.save wrote before it wrote zip files.
_PICKLE = b"\x80"
_TORCHS_PICKLE = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
# How files begin that were packed once more.
_PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"7z\xbc\xaf": "7-Zip"}
# torch saves without compression. Weights that were compressed afterwards shrink by a tenth. Only
# zeros shrink further.
_MOST_INFLATION = 20
_SMALL = 64 << 20

# What a pickled numpy scalar or array consists of, by its names under numpy 1 and numpy 2.
_multiarray: Any = np._core.multiarray  # type: ignore[attr-defined]
_SAFE: list[Any] = [
    argparse.Namespace,
    pathlib.PosixPath,
    pathlib.PurePosixPath,
    np.ndarray,
    np.dtype,
    *(kind for kind in vars(np.dtypes).values() if isinstance(kind, type)),
    *(
        (getattr(_multiarray, name), f"numpy.{core}.multiarray.{name}")
        for name in ("scalar", "_reconstruct")
        for core in ("core", "_core")
    ),
]


class _SafeObjects:
    """Lets weights be unpickled with what is safe. torch has one list of that for all threads.

    So the first reader adds to it, and the last one takes that away again.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers = 0
        self._context = torch.serialization.safe_globals(_SAFE)

    def __enter__(self) -> None:
        with self._lock:
            if self._readers == 0:
                self._context.__enter__()
            self._readers += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._readers -= 1
            if self._readers == 0:
                self._context.__exit__(None, None, None)


_safe_objects = _SafeObjects()


def read_weights(path: Path) -> list[Stored]:
    """All sets of weights of a checkpoint. The one that the training code itself loads is first.

    Raises
    ------
    CheckpointError
        The file is truncated, would take too much memory, has no weights in it, or has objects
        that are no weights.
    """
    if path.suffix == ".safetensors":
        content: Any = _read_safetensors(path)
    else:
        content = _unpickle(path)
    return states_in(content, path)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    _refuse_folder(path)
    try:
        # they lie in the file itself, which may change while a run lasts
        return {name: t.clone() for name, t in safetensors.torch.load_file(path).items()}
    except Exception as error:  # the library has an error per kind of damage
        raise _unreadable(path, error) from error


def _unpickle(path: Path) -> Any:
    if path.is_dir():
        source: Any = _repacked(path)
    else:
        source = path
        _refuse_inflation(path)
    try:
        with _safe_objects:
            return torch.load(source, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if (reason := _no_checkpoint(path)) is not None:
            raise CheckpointError(reason) from error
        found = re.search(r"(?:GLOBAL|global|function) `?([\w.]+)", str(error))
        what = f"objects of {found[1]}" if found else "objects"
        raise CheckpointError(
            f"{path}: it holds {what} that are no weights, and loading them could run code. "
            "Save only the state dict of the network"
        ) from error
    except Exception as error:  # a damaged file can fail in every kind of way
        raise _unreadable(path, error) from error


def _refuse_folder(path: Path) -> None:
    if path.is_dir():
        raise CheckpointError(f"{path}: found a folder, wanted a file. Copy the file again")


def _refuse_inflation(path: Path) -> None:
    """Refuse a zip file whose members are far larger than itself, or than the free memory."""
    try:
        if not zipfile.is_zipfile(path):
            return
        size = path.stat().st_size
        with zipfile.ZipFile(path) as archive:
            inflated = sum(member.file_size for member in archive.infolist())
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise _unreadable(path, error) from error
    if inflated > max(_SMALL, _MOST_INFLATION * size):
        raise CheckpointError(
            f"{path}: found {inflated / 1e9:.2f} GB packed into {size / 1e6:.2f} MB, which no "
            "weights are. Copy the checkpoint again"
        )
    free = available_memory()
    if inflated > free:
        raise CheckpointError(
            f"{path}: found {inflated / 1e9:.2f} GB of weights, but {free / 1e9:.2f} GB of memory "
            "are free. Save only the state dict of the network"
        )


def _no_checkpoint(path: Path) -> str | None:
    """What a file is that was taken for a checkpoint, in a sentence. None if nobody knows."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        head = file.read(512)
    start = head[:64].lstrip()
    if (form := _other_form(head, path)) is not None:
        return f"{path}: {form}"
    if start.startswith(b"version https://git-lfs"):
        return f"{path}: this is a pointer of Git LFS, not the checkpoint. Fetch it by git lfs pull"
    if start.startswith((b"<", b"{")):
        return f"{path}: this is text, such as a web page. Download the checkpoint again"
    if start.startswith(_PICKLE) and not start.startswith(_TORCHS_PICKLE):
        return (
            f"{path}: this was written by pickle itself, and reading it could run code. Save the "
            "state dict of the network by torch.save"
        )
    return None


def _other_form(head: bytes, path: Path) -> str | None:
    """What the first 512 bytes say that a file is, if that is not what its name says."""
    is_safetensors = path.suffix == ".safetensors"
    if head[8:10] == b'{"' and int.from_bytes(head[:8], "little") < path.stat().st_size:
        return None if is_safetensors else "this is a safetensors file. Rename it to .safetensors"
    if head[257:262] == b"ustar":
        return "this is a tar archive. Unpack it"
    for magic, packed in _PACKED.items():
        if head.startswith(magic):
            return f"this was packed by {packed}. Unpack it"
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except DAMAGED_ARCHIVE:
        return None
    if not any(name.endswith("data.pkl") for name in names):
        return f"this is a zip archive of {listed(names, 1)}. Unpack it"
    return "this was written by torch.save. Rename it to .pth" if is_safetensors else None


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    known = _no_checkpoint(path)
    if known is not None:
        return CheckpointError(known)
    reason = str(error).split("\n")[0][:200].rstrip(".")
    # other kinds of errors speak of Python, not of the file
    is_ours = isinstance(error, RuntimeError | zipfile.BadZipFile | safetensors.SafetensorError)
    shown = f" ({reason})" if reason and is_ours else ""
    return CheckpointError(
        f"{path}: the file is truncated or holds no weights{shown}. Copy it again"
    )


def _repacked(path: Path) -> io.BytesIO:
    """The zip file that was unpacked into the folder `path`."""
    root = pickle_folder(path)
    if root is None:
        raise CheckpointError(
            f"{path}: this folder has no data.pkl, so it is no unpacked checkpoint. Upload the "
            "checkpoint again, best as .safetensors"
        )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(f for f in root.rglob("*") if f.is_file()):
            archive.write(file, f"archive/{file.relative_to(root).as_posix()}")
    buffer.seek(0)
    return buffer
