"""Which device, and in which precision."""

import torch

from kernelkit.errors import DeviceError

__all__ = ["choose_device", "choose_precision"]

_PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(name: str = "auto") -> torch.device:
    """The device of that name; `auto` is the first GPU, or the CPU where there is none."""
    if name == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise DeviceError(
            f"{name}: this machine has no GPU that torch can use; switch the accelerator on, or "
            "name the device cpu."
        )
    return device


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """The dtype of the networks' arithmetic; `auto` is the fastest that is safe there.

    On a GPU that is float16, which every card since 2017 has in hardware (a T4 claims bfloat16
    and emulates it); on a CPU bfloat16 where the processor multiplies in it, else float32.
    """
    if name != "auto":
        return _PRECISIONS[name]
    if device.type == "cuda":
        return torch.float16
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if native else torch.float32
