"""`Runtime`: on which device programs run, and by which of onnxruntime's providers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kernelkit.vocabulary import Provider

__all__ = ["PROVIDERS", "Runtime"]

# What onnxruntime calls its ways to compute.
PROVIDERS: Mapping[Provider, str] = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
# The fastest of all algorithms is another one each time, and with it the last bits. Otherwise it
# also takes memory in powers of two, which torch cannot have then.
_CUDA = {"cudnn_conv_algo_search": "HEURISTIC", "arena_extend_strategy": "kSameAsRequested"}


@dataclass(frozen=True)
class Runtime:
    """Where programs run. Networks are built on the CPU, wherever they go afterwards.

    An engine that does not load is replaced by the weights that it was made of.

    Attributes
    ----------
    device
        The device of the ensemble.
    is_half
        Whether the ensemble computes in float16. TensorRT does so then too.
    providers
        What onnxruntime may compute by, the first that works, and each one's options. None means
        CUDA on a GPU, and nothing else. On a CPU it means the CPU.
    merged
        Builds the network of a whole ensemble, whose engine does not load, from the folder of its
        runs. It gives the network, its channels, its classes, and a hash of its weights.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    is_half: bool = False
    providers: tuple[tuple[Provider, Mapping[str, Any]], ...] | None = None
    merged: Callable[[Path], tuple[nn.Module, int, int, str]] | None = None

    @property
    def wanted(self) -> tuple[Provider, ...]:
        """The providers, the first that works."""
        if self.providers is not None:
            return tuple(name for name, _ in self.providers)
        return ("cuda",) if self.device.type == "cuda" else ("cpu",)

    @property
    def possible(self) -> tuple[Provider, ...]:
        """Those of them that compute on the device."""
        if self.device.type == "cuda":
            return self.wanted
        return tuple(name for name in self.wanted if name == "cpu")

    def options_of(self, provider: Provider) -> dict[str, str]:
        """The options of a provider, as onnxruntime takes them."""
        options: dict[str, Any] = {}
        if provider != "cpu":
            options["device_id"] = self.device.index or 0
        if provider == "cuda":
            options |= _CUDA
        if provider == "tensorrt" and self.is_half:
            options["trt_fp16_enable"] = True
        options |= dict(self.providers or ()).get(provider, {})
        return {name: str(value) for name, value in options.items()}
