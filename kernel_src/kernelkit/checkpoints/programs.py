"""Networks that come as programs: TorchScript, torch.export, AOTInductor and ONNX files.

All but ONNX files can run code when they are loaded. No setting of torch prevents that. So they are
loaded only if the caller says that they are trusted. A program's layers cannot be seen. So it is
asked about noise when it is loaded, which shows what it answers with and which tiles it takes.
"""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kernelkit.checkpoints.answers import first_line
from kernelkit.checkpoints.onnx_session import OnnxSession
from kernelkit.checkpoints.program import Program, Shape
from kernelkit.errors import CheckpointError

__all__ = ["SUFFIXES", "is_program", "load_program"]

_SCRIPT = (".ts", ".jit", ".torchscript")
_EXPORTED = ".pt2"
_ONNX = ".onnx"
# Suffixes of files that are programs. A file with another suffix may hold TorchScript too.
SUFFIXES = (*_SCRIPT, _EXPORTED, _ONNX)


def is_program(path: Path) -> bool:
    """Whether a file is a program by its suffix, or holds TorchScript under another suffix."""
    if path.suffix in SUFFIXES:
        return True
    return any(name.endswith("/constants.pkl") for name in _names(path))


def _names(path: Path) -> list[str]:
    """The members of a zip file, or nothing if it is none or broken."""
    try:
        if not path.is_file() or not zipfile.is_zipfile(path):
            return []
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return []


def load_program(
    path: Path, trusted: bool, channels: int | None = None, classes: int | None = None
) -> Program:
    """The program as a module in eval mode, on the CPU.

    Parameters
    ----------
    trusted
        Whether it may run code when it is loaded.
    channels, classes
        Of input and output, if a description says so.

    Raises
    ------
    CheckpointError
        The program is not trusted or not readable, onnxruntime is missing for an ONNX file, or its
        answers are none that an ensemble can use.
    """
    if path.is_dir():
        raise CheckpointError(f"{path}: found a folder, wanted a file. Copy the file again")
    if path.suffix == _ONNX:
        onnx = OnnxSession(path)
        return Program(path, onnx, channels, classes, onnx.shape)
    if not trusted:
        raise CheckpointError(
            f"{path}: this is a program, which can run code when it is loaded. Write "
            "'programs: true' into the recipe if you trust it"
        )
    load: Callable[[Path], tuple[nn.Module, Shape | None]] = _load_script
    remedy = "Write it again with this version"
    if path.suffix == _EXPORTED:
        load = _load_exported
        if any("/aotinductor/" in name for name in _names(path)):
            load = _load_compiled
            remedy = "Compile it again with this version, for this kind of device"
    try:
        module, shape = load(path)
    except Exception as error:  # each format has its own kinds of errors for a broken file
        raise CheckpointError(
            f"{path}: torch {torch.__version__} cannot load this program "
            f"({first_line(error)}). {remedy}"
        ) from error
    return Program(path, module, channels, classes, shape)


def _load_exported(path: Path) -> tuple[nn.Module, Shape | None]:
    program = torch.export.load(path)
    inputs = [node for node in program.graph.nodes if node.op == "placeholder"]
    shapes = [getattr(node.meta.get("val"), "shape", ()) for node in inputs]
    users = set(program.graph_signature.user_inputs)
    for node, shape in zip(inputs, shapes, strict=True):
        if node.name in users and len(shape) == 4:
            count, bands, height, width = (side if type(side) is int else None for side in shape)
            return program.module(), (count, bands, height, width)
    return program.module(), None


def _load_script(path: Path) -> tuple[nn.Module, Shape | None]:
    return torch.jit.load(path, map_location="cpu").eval(), None


def _load_compiled(path: Path) -> tuple[nn.Module, Shape | None]:
    # else a tile of another size than it was compiled for is read out of its bounds
    os.environ["AOTI_RUNTIME_CHECK_INPUTS"] = "1"
    return _Compiled(torch._inductor.aoti_load_package(str(path))), None


class _Compiled(nn.Module):
    """An AOTInductor package. Its weights are inside of it."""

    def __init__(self, package: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self._package = package

    def forward(self, tiles: Tensor) -> Any:
        return self._package(tiles.float().contiguous())
