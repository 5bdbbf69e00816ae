"""An ONNX file as a module."""

import importlib
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kernelkit.checkpoints.answers import first_line
from kernelkit.checkpoints.onnx_file import check_onnx
from kernelkit.checkpoints.program import Shape
from kernelkit.errors import CheckpointError

__all__ = ["OnnxSession"]

# Where onnxruntime computes, the fastest first.
_PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")


class OnnxSession(nn.Module):
    """An ONNX file, run by onnxruntime in float32, on the GPU if it can, else on the CPU.

    Raises
    ------
    CheckpointError
        The file refers to other files or libraries. Or onnxruntime is not installed, or cannot load
        it.
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
        check_onnx(path)
        try:
            available = runtime.get_available_providers()
            providers = [name for name in _PROVIDERS if name in available]
            options = runtime.SessionOptions()
            options.log_severity_level = 4
            self._session = runtime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # the runtime's errors have no other common base
            raise CheckpointError(
                f"{path}: onnxruntime cannot load it ({first_line(error)}). Export it again"
            ) from error
        [first, *others] = self._session.get_inputs()
        if others or len(first.shape) != 4:
            raise CheckpointError(
                f"{path}: found inputs {', '.join(i.name for i in (first, *others))}, wanted one "
                "of four dimensions. Export a network that takes tiles"
            )
        self._input = first.name
        self._half = first.type == "tensor(float16)"

    @property
    def shape(self) -> Shape:
        """The sides that the file fixes of its input."""
        count, bands, height, width = (
            side if isinstance(side, int) else None for side in self._session.get_inputs()[0].shape
        )
        return count, bands, height, width

    def forward(self, tiles: Tensor) -> Tensor:
        """What the file answers with, on the tiles' device."""
        given = tiles.half() if self._half else tiles.float()
        [answer, *_] = self._session.run(None, {self._input: given.cpu().numpy()})
        return torch.from_numpy(answer).to(tiles.device)
