"""Networks that come as programs: TorchScript, torch.export and ONNX files.

TorchScript and torch.export archives can run code when they are loaded. No setting of torch
prevents that. So they are loaded only if the caller says that they are trusted. All programs must
answer in logits. A torch.export program needs a dynamic batch. It runs at the tile sizes that it
was exported for, on the kind of device that it was exported on.
"""

import importlib
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kernelkit.errors import CheckpointError

__all__ = ["SUFFIXES", "OnnxProgram", "is_program", "load_program"]

_SCRIPT = (".ts", ".jit", ".torchscript")
_EXPORTED = ".pt2"
_ONNX = ".onnx"
# Where onnxruntime computes, the fastest first.
_PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
# Suffixes of files that are programs. A file with another suffix may hold TorchScript too.
SUFFIXES = (*_SCRIPT, _EXPORTED, _ONNX)


def is_program(path: Path) -> bool:
    """Whether a file is a program by its suffix, or holds TorchScript under another suffix."""
    if path.suffix in SUFFIXES:
        return True
    if not path.is_file() or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def load_program(path: Path, trusted: bool) -> nn.Module:
    """The program as a module in eval mode, on the CPU.

    Parameters
    ----------
    trusted
        Whether it may run code when it is loaded.

    Raises
    ------
    CheckpointError
        The program is not trusted or not readable, or onnxruntime is missing for an ONNX file.
    """
    if path.suffix == _ONNX:
        return OnnxProgram(path)
    if not trusted:
        raise CheckpointError(
            f"{path}: this is a program, which can run code when it is loaded. Write "
            "'programs: true' into the recipe if you trust it"
        )
    load: Callable[[Path], nn.Module] = _load_exported if path.suffix == _EXPORTED else _load_script
    try:
        return load(path)
    except Exception as error:  # each format has its own kinds of errors for a broken file
        raise CheckpointError(
            f"{path}: torch {torch.__version__} cannot load this program "
            f"({_first_line(error)}). Write it again with this version"
        ) from error


def _load_exported(path: Path) -> nn.Module:
    return torch.export.load(path).module()


def _load_script(path: Path) -> nn.Module:
    return torch.jit.load(path, map_location="cpu").eval()


class OnnxProgram(nn.Module):
    """An ONNX file, run by onnxruntime in float32, on the GPU if it can, else on the CPU.

    Raises
    ------
    CheckpointError
        onnxruntime is not installed, or cannot load the file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        # since 1.29 it sends reports to its makers, from the import on
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        try:
            runtime: Any = importlib.import_module("onnxruntime")
        except ImportError as error:
            raise CheckpointError(
                f"{path}: an ONNX file needs onnxruntime, which is not installed. Install it, or "
                "give the checkpoint itself"
            ) from error
        try:
            available = runtime.get_available_providers()
            providers = [name for name in _PROVIDERS if name in available]
            self._session = runtime.InferenceSession(str(path), providers=providers)
        except Exception as error:  # the runtime's errors have no other common base
            raise CheckpointError(
                f"{path}: onnxruntime cannot load it ({_first_line(error)}). Export it again"
            ) from error
        self._input = self._session.get_inputs()[0].name

    def forward(self, tiles: Tensor) -> Tensor:
        """Logits (N, K, h, w) of tiles (N, C, h, w)."""
        [answer, *_] = self._session.run(None, {self._input: tiles.float().cpu().numpy()})
        return torch.from_numpy(answer).to(tiles.device)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200].rstrip(".")
