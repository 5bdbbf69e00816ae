"""With which code a run was trained: versions, and a copy of the user's own packages."""

import hashlib
import importlib.metadata
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kernelkit
from kernelkit.files import open_atomically
from kernelkit.own import own_code

__all__ = ["code_fingerprint", "requirements_text", "write_sources"]

# What a training runs on, by the names of the registry.
_DISTRIBUTIONS = (
    *("torch", "torchvision", "timm", "segmentation-models-pytorch", "pytorch-lightning"),
    *("torchmetrics", "tensorboard", "scikit-learn", "numpy", "scipy", "pandas", "numba"),
    *("opencv-python-headless", "opencv-python", "rasterio", "pyarrow", "safetensors"),
)


def write_sources(model: Mapping[str, Any], folder: Path) -> None:
    """Write what a run was trained with into the `src` of its folder.

    `kernelkit.txt` says the version, and a hash of the package's code. If the network is of the
    user's own code, a copy of its package lies beside that.

    Parameters
    ----------
    model
        What the network is built with.
    folder
        The folder `src`. What lies there is replaced.

    Raises
    ------
    OwnCodeError
        There is no folder with the user's own code, though the network names it.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with open_atomically(folder / "kernelkit.txt") as file:
        file.write(f"kernelkit {kernelkit.__version__}\nsha256 {code_fingerprint()}\n")
    network = model.get("network")
    code = own_code() if network else None
    if network is None or code is None:
        return
    top = str(network).partition(":")[0].split(".")[0]
    for path in code.files(top) if top in code.modules else ():
        copy = folder / path.relative_to(code.folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)


def code_fingerprint() -> str:
    """A hash of kernelkit's own code, by the names and contents of its files."""
    package = Path(kernelkit.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*")):
        if path.suffix in (".py", ".yaml"):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{path.relative_to(package).as_posix()} {content}\n".encode())
    return digest.hexdigest()


def requirements_text() -> str:
    """The versions of what a training runs on, as pip reads them."""
    lines = [f"# Python {platform.python_version()}"]
    for name in _DISTRIBUTIONS:
        try:
            lines.append(f"{name}=={importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:  # one of two that serve the same
            continue
    return "\n".join(lines) + "\n"
