"""Networks that come as programs: TorchScript, torch.export, AOTInductor and ONNX files.

All but ONNX files can run code when they are loaded. No setting of torch prevents that. So they are
loaded only if the caller says that they are trusted. A program's layers cannot be seen. So it is
asked about noise when it is loaded. That shows which tiles it takes, and what it answers with.
"""

import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import nn

from kernelkit.checkpoints.answers import first_line
from kernelkit.checkpoints.checkpoint_files import PROGRAMS
from kernelkit.checkpoints.compiled import is_compiled, load_compiled
from kernelkit.checkpoints.onnx_session import OnnxSession
from kernelkit.checkpoints.program import Program, Shape
from kernelkit.checkpoints.runtime import Runtime
from kernelkit.errors import CheckpointError

__all__ = ["is_program", "load_program"]

_EXPORTED = ".pt2"
_ONNX = ".onnx"


def is_program(path: Path) -> bool:
    """Whether a file is a program by its suffix, or holds TorchScript under another suffix."""
    if path.suffix in PROGRAMS:
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
    path: Path,
    trusted: bool,
    channels: int | None = None,
    classes: int | None = None,
    runtime: Runtime | None = None,
) -> Program:
    """The program as a module in eval mode.

    Parameters
    ----------
    trusted
        Whether it may run code when it is loaded.
    channels, classes
        Of input and output, if a description says so.
    runtime
        Where it runs. TorchScript and exported programs are on the CPU until they are moved.

    Raises
    ------
    CheckpointError
        The program is not trusted, or cannot be read. It is an ONNX file, and onnxruntime is
        missing. An ensemble cannot use its answers.
    """
    if path.is_dir():
        raise CheckpointError(f"{path}: found a folder, wanted a file. Copy the file again")
    runtime = runtime or Runtime()
    if path.suffix == _ONNX:
        onnx = OnnxSession(path, runtime)
        return Program(
            path, onnx, channels, classes, onnx.shape, onnx.in_words, device=runtime.device
        )
    if not trusted:
        raise CheckpointError(
            f"{path}: this is a program, which can run code when it is loaded. Write "
            "'programs: true' into the recipe if you trust it"
        )
    load: Callable[[Path], tuple[nn.Module, Shape | None]] = _load_script
    remedy = "Write it again with this version"
    if path.suffix == _EXPORTED:
        load = _load_exported
        if is_compiled(_names(path)):
            load = partial(load_compiled, runtime=runtime)
            remedy = "Compile it again with this version, for this kind of device"
    try:
        module, shape = load(path)
    except CheckpointError:
        raise
    except Exception as error:  # each format has its own kinds of errors for a broken file
        raise CheckpointError(
            f"{path}: torch {torch.__version__} cannot load this program "
            f"({first_line(error)}). {remedy}"
        ) from error
    return Program(path, module, channels, classes, shape, device=runtime.device)


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
