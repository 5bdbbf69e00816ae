"""Read weights from a file of any form, and never run code from it.

`.pth`, `.pt`, `.bin` and `.ckpt` files are unpickled with `weights_only`. Tensors, plain containers
and numpy scalars (such as a loss) load, and everything else is refused. `.safetensors` holds no
code. A `.pth` is a zip file, and the upload of a dataset may unpack it. Such a folder loads too.
"""

import io
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from kernelkit.errors import CheckpointError

__all__ = ["PICKLES", "is_unpacked", "read_weights"]

# Suffixes of files that `torch.save` writes.
PICKLES = (".pth", ".pt", ".bin", ".ckpt")

# The keys under which training codes save the weights, the most specific first.
_STATE_KEYS = ("model_state", "model_state_dict", "state_dict", "model")
# Prefixes of what wraps a network while it trains: parallel, compiled and Lightning modules.
_WRAPPERS = ("module.", "_orig_mod.", "model.")

# What a pickled numpy scalar or array consists of, by its names under numpy 1 and numpy 2.
_multiarray: Any = np._core.multiarray  # type: ignore[attr-defined]
_SAFE: list[Any] = [
    np.ndarray,
    np.dtype,
    *(kind for kind in vars(np.dtypes).values() if isinstance(kind, type)),
    *(
        (getattr(_multiarray, name), f"numpy.{core}.multiarray.{name}")
        for name in ("scalar", "_reconstruct")
        for core in ("core", "_core")
    ),
]


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, on the CPU, without the names' training prefixes.

    Raises
    ------
    CheckpointError
        The file is truncated, has no weights in it, or has objects that are no weights.
    """
    if path.suffix == ".safetensors":
        try:
            content: Any = safetensors.torch.load_file(path)
        except SafetensorError as error:
            raise _unreadable(path, error) from error
    else:
        content = _unpickle(path)
    return _strip(_find_state(content, path))


def is_unpacked(path: Path) -> bool:
    """Whether `path` is a folder that once was a `.pth` file."""
    return path.is_dir() and _pickle_folder(path) is not None


def _unpickle(path: Path) -> Any:
    source: Any = _repacked(path) if path.is_dir() else path
    try:
        with torch.serialization.safe_globals(_SAFE):
            return torch.load(source, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"(?:GLOBAL|global|function) `?([\w.]+)", str(error))
        what = f"objects of {found[1]}" if found else "objects"
        raise CheckpointError(
            f"{path}: it holds {what} that are no weights, and loading them could run code. "
            "Save only the state dict of the network"
        ) from error
    except (RuntimeError, EOFError, OSError, KeyError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    reason = str(error).split("\n")[0].rstrip(".")
    return CheckpointError(
        f"{path}: the file is truncated or holds no weights ({reason}). Copy it again"
    )


def _pickle_folder(path: Path) -> Path | None:
    """The folder of data.pkl: `path`, or the zip file's own top folder in it."""
    below = [child for child in path.iterdir() if (child / "data.pkl").is_file()]
    return path if (path / "data.pkl").is_file() else next(iter(below), None)


def _repacked(path: Path) -> io.BytesIO:
    """The zip file that was unpacked into the folder `path`."""
    root = _pickle_folder(path)
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


def _find_state(content: Any, path: Path) -> dict[str, Tensor]:
    """The mapping of names to tensors inside what a training code saved."""
    if isinstance(content, Mapping):
        for key in _STATE_KEYS:
            if isinstance(content.get(key), Mapping):
                return _find_state(content[key], path)
        state = {name: value for name, value in content.items() if isinstance(value, Tensor)}
        if state:
            return state
    keys = f"the keys {', '.join(map(str, content))}" if isinstance(content, Mapping) else "no keys"
    raise CheckpointError(
        f"{path}: no weights were found in it (it has {keys}). Save a state dict, or one under a "
        f"key {', '.join(_STATE_KEYS)}"
    )


def _strip(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state with the bare network's names, and without an averaged model's step counter."""
    state.pop("n_averaged", None)
    for prefix in _WRAPPERS:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state
