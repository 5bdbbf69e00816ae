"""An AOTInductor package as a module. It runs only where it was compiled for.

torch writes into a package what it was compiled for: the device, the kind of GPU, and the
instructions of a CPU. `make engine` also writes by which torch, and for which tiles. If one of
them differs, loading could end the process. So all are compared first.
"""

import json
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kernelkit.checkpoints.program import Shape
from kernelkit.checkpoints.runtime import Runtime
from kernelkit.errors import CheckpointError

__all__ = ["TILE_KEY", "TORCH_KEY", "is_compiled", "load_compiled"]

# What `make engine` adds to torch's own words about a package.
TORCH_KEY, TILE_KEY = "KERNELKIT_TORCH", "KERNELKIT_TILE"
_DEVICE, _KIND_OF_GPU, _INSTRUCTIONS = "AOTI_DEVICE_KEY", "AOTI_COMPUTE_CAPABILITY", "AOTI_CPU_ISA"
_FOLDER = "/aotinductor/"
_SUFFIX, _CODE = "wrapper_metadata.json", ".wrapper.so"
# Bytes. Those of torch have 200.
_MOST_BYTES = 1 << 16
# How Linux calls instructions, if not as torch does.
_FLAGS = {"avx512": "avx512f", "amx": "amx_tile"}


def is_compiled(names: list[str]) -> bool:
    """Whether a zip file with members of these names is an AOTInductor package."""
    return any(_FOLDER in name for name in names)


def load_compiled(path: Path, runtime: Runtime) -> tuple[nn.Module, Shape | None]:
    """The package as a module, and the input that it was compiled for, if it says so.

    Raises
    ------
    CheckpointError
        It was compiled for another device, kind of GPU or processor, or by another torch.
    """
    said = _said_in(path)
    _refuse_another_device(path, said, runtime.device)
    _refuse_another_torch(path, said)
    # else a tile of another size than it was compiled for is read out of its bounds
    os.environ["AOTI_RUNTIME_CHECK_INPUTS"] = "1"
    index = (runtime.device.index or 0) if runtime.device.type == "cuda" else -1
    package = torch._inductor.aoti_load_package(str(path), device_index=index)
    return _Compiled(package, runtime.device), _tile_of(said)


def _said_in(path: Path) -> Mapping[str, Any]:
    """What a package says of itself. It is whole: torch ends the process over one that is not."""
    with zipfile.ZipFile(path) as archive:
        inside = [member for member in archive.infolist() if _FOLDER in member.filename]
        said = [member for member in inside if member.filename.endswith(_SUFFIX)]
        has_code = any(member.filename.endswith(_CODE) for member in inside)
        if has_code and said and said[0].file_size <= _MOST_BYTES and archive.testzip() is None:
            content = json.loads(archive.read(said[0]))
            if isinstance(content, dict):
                return content
    raise CheckpointError(
        f"{path}: this package is damaged, or has no code for this system. Copy it again"
    )


def _refuse_another_device(path: Path, said: Mapping[str, Any], device: torch.device) -> None:
    compiled_for = said.get(_DEVICE)
    if compiled_for not in (None, device.type):
        raise CheckpointError(
            f"{path}: this package was compiled for {compiled_for}, but the device is {device}. "
            f"Compile it for {device.type}, or choose the device {compiled_for}"
        )
    if device.type == "cuda":
        own = "".join(map(str, torch.cuda.get_device_capability(device)))
        wanted = str(said.get(_KIND_OF_GPU) or own).replace(".", "")
        if wanted != own:
            raise CheckpointError(
                f"{path}: this package was compiled for GPUs of compute capability {wanted}, and "
                f"{torch.cuda.get_device_name(device)} has {own}. Compile it on this kind of GPU"
            )
        return
    known = _flags_of_cpu()
    words = str(said.get(_INSTRUCTIONS) or "").split()
    missing = [w for w in words if _FLAGS.get(w.lower(), w.lower()) not in known]
    if known and missing:
        raise CheckpointError(
            f"{path}: this package was compiled for a processor with {', '.join(missing)}, which "
            "this one lacks. Compile it on this kind of machine"
        )


def _flags_of_cpu() -> frozenset[str]:
    """The instructions that this processor has. None if the system does not say so."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore")
    except OSError:
        return frozenset()
    lines = (line.partition(":") for line in text.splitlines())
    return next((frozenset(v.split()) for k, _, v in lines if k.strip() == "flags"), frozenset())


def _refuse_another_torch(path: Path, said: Mapping[str, Any]) -> None:
    compiled_by = said.get(TORCH_KEY)
    if compiled_by not in (None, torch.__version__):
        raise CheckpointError(
            f"{path}: this package was compiled by torch {compiled_by!s:.40}, and this is "
            f"torch {torch.__version__}. Compile it by this version"
        )


def _tile_of(said: Mapping[str, Any]) -> Shape | None:
    """The bands and the sides of the tiles, written as `3x512x512`."""
    parts = str(said.get(TILE_KEY, "")).split("x")
    if len(parts) != 3 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        return None
    bands, height, width = (int(part) for part in parts)
    return None, bands, height, width


class _Compiled(nn.Module):
    """A package. Its weights are inside of it, and stay on its device."""

    def __init__(self, package: Callable[[Tensor], Any], device: torch.device) -> None:
        super().__init__()
        self._package = package
        self._device = device

    def forward(self, tiles: Tensor) -> Any:
        answer = self._package(tiles.to(self._device, torch.float32).contiguous())
        return answer.to(tiles.device) if isinstance(answer, Tensor) else answer
