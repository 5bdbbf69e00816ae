"""Networks that come as programs: TorchScript, torch.export and ONNX files.

TorchScript and torch.export archives can run code when they are loaded, which no setting of torch
prevents, so they are loaded only when the caller says that they are trusted. All are taken to
answer in logits. An exported program has to be exported with a dynamic batch, and runs at the tile
sizes that it was exported for, on the kind of device that it was exported on.
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
_PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
SUFFIXES = (*_SCRIPT, _EXPORTED, _ONNX)
"""Suffixes of files that are programs; a `.pt` may hold one too."""


def is_program(path: Path) -> bool:
    """Whether a file is a program, by its suffix, or holds TorchScript under any other."""
    if path.suffix in SUFFIXES:
        return True
    if not path.is_file() or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def load_program(path: Path, trusted: bool) -> nn.Module:
    """The program as a module in eval mode, on the CPU.

    Raises
    ------
    CheckpointError
        Not `trusted`, not readable, or an ONNX file without onnxruntime to run it.
    """
    if path.suffix == _ONNX:
        return OnnxProgram(path)
    if not trusted:
        raise CheckpointError(
            f"{path}: this is a program, which can run code when it is loaded; say "
            "'programs: true' in the recipe if you trust it."
        )
    load: Callable[[Path], nn.Module] = _load_exported if path.suffix == _EXPORTED else _load_script
    try:
        return load(path)
    except Exception as error:  # each format has its own errors for a broken file
        raise CheckpointError(
            f"{path}: torch {torch.__version__} cannot load this program "
            f"({str(error).splitlines()[0][:200]}); write it again with this version."
        ) from error


def _load_exported(path: Path) -> nn.Module:
    return torch.export.load(path).module()


def _load_script(path: Path) -> nn.Module:
    return torch.jit.load(path, map_location="cpu").eval()


class OnnxProgram(nn.Module):
    """An ONNX file, run by onnxruntime on the GPU if that can, else on the CPU; in float32."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        # since 1.29 it reports home, and begins with that when it is imported
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        try:
            runtime: Any = importlib.import_module("onnxruntime")
        except ImportError as error:
            raise CheckpointError(
                f"{path}: running an ONNX file needs onnxruntime, which is not installed; install "
                "it, or give the checkpoint itself."
            ) from error
        try:
            available = runtime.get_available_providers()
            providers = [name for name in _PROVIDERS if name in available]
            self._session = runtime.InferenceSession(str(path), providers=providers)
        except Exception as error:  # the runtime's errors share no base but this
            raise CheckpointError(
                f"{path}: onnxruntime cannot load it ({str(error).splitlines()[0][:200]})."
            ) from error
        self._input = self._session.get_inputs()[0].name

    def forward(self, tiles: Tensor) -> Tensor:
        """Logits (N, K, h, w) of tiles (N, C, h, w)."""
        [answer, *_] = self._session.run(None, {self._input: tiles.float().cpu().numpy()})
        return torch.from_numpy(answer).to(tiles.device)
