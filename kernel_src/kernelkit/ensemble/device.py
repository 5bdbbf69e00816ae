"""What the networks run on: which device, in which precision, with how much free memory."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor

from kernelkit.ensemble.turns import together
from kernelkit.errors import DeviceError, RecipeError
from kernelkit.memory import available_memory
from kernelkit.vocabulary import Precision, choices

__all__ = [
    "choose_device",
    "choose_precision",
    "device_name",
    "free_bytes",
    "has_code_for",
    "is_out_of_memory",
    "not_finite_message",
    "on_device",
    "release_cached",
]

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# How libraries below torch's own allocator say that memory ran out. torch asks cuDNN for one way
# after the other to compute a convolution. If no way's workspace fits, it only says the last. A
# thread's first product needs a handle of cuBLAS, and without memory that is not initialized.
_OUT_OF_MEMORY = (
    "out of memory",
    "ALLOC_FAILED",
    "ALLOCATION_FAILED",
    "STATUS_NOT_INITIALIZED",
    "can't allocate memory",
    "unable to find an engine to execute this computation",
)


def choose_device(name: str = "auto") -> torch.device:
    """The device of that name. `auto` is the first GPU, or the CPU if there is none.

    Raises
    ------
    DeviceError
        There is no such device, or torch cannot use the machine's GPU.
    """
    if name == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(
            f'there is no device "{name}". Choose auto, cpu, or a GPU such as cuda:0'
        ) from error
    if device.type not in ("cpu", "cuda"):
        raise DeviceError(
            f'{name}: found a device of the kind "{device.type}", wanted a processor or a GPU of '
            "CUDA. Choose auto, cpu, or a GPU such as cuda:0"
        )
    if device.type == "cuda" and not torch.cuda.is_available():
        raise DeviceError(
            f"{name}: this machine has no GPU that torch can use. Switch the accelerator on, or "
            "choose the device cpu"
        )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceError(
            f"{name}: found {torch.cuda.device_count()} GPU(s), which count from cuda:0. Choose "
            f"one up to cuda:{torch.cuda.device_count() - 1}"
        )
    if device.type == "cuda":
        device = torch.device("cuda", device.index or 0)  # each thread has a current GPU of its own
        _refuse_without_code(device)
    return device


def _refuse_without_code(device: torch.device) -> None:
    capability = torch.cuda.get_device_capability(device)
    built_for = torch.cuda.get_arch_list()
    if built_for and not has_code_for(capability, built_for):
        major, minor = capability
        raise DeviceError(
            f"{device}: found {device_name(device)} of compute capability {major}.{minor}, and "
            f"torch {torch.__version__} is built for {', '.join(built_for)}. Choose another kind "
            "of GPU, or the device cpu"
        )


def has_code_for(capability: tuple[int, int], built_for: Sequence[str]) -> bool:
    """Whether a GPU runs what torch was built for.

    Code for a kind of GPU (`sm_80`) runs on later ones of the same generation. The driver
    translates other code (`compute_90`) for all later ones.

    >>> has_code_for((8, 6), ["sm_75", "sm_80"]), has_code_for((6, 0), ["sm_75", "sm_80"])
    (True, False)
    """
    for name in built_for:
        kind, _, number = name.partition("_")
        if not number.isdecimal():  # such as sm_90a, which runs on no other
            continue
        built = divmod(int(number), 10)
        is_same_generation = built[0] == capability[0]
        if built <= capability and (kind == "compute" or is_same_generation):
            return True
    return any(name.rstrip("af") == f"sm_{capability[0]}{capability[1]}" for name in built_for)


def choose_precision(name: Precision, device: torch.device) -> torch.dtype:
    """The dtype of the networks' arithmetic. `auto` is the fastest that is safe on the device.

    On a GPU `auto` is float16, which every GPU has in hardware. GPUs below compute capability 8
    emulate bfloat16. They get float16, even if bfloat16 was requested. On a CPU `auto` is bfloat16
    if the processor multiplies in it, and float32 otherwise.

    Raises
    ------
    RecipeError
        There is no such precision.
    """
    if name not in get_args(Precision):
        raise RecipeError(f'there is no precision "{name}". Choose {choices(Precision)}')
    if device.type == "cuda":
        is_emulated = name == "bf16" and torch.cuda.get_device_capability(device) < (8, 0)
        return torch.float16 if name == "auto" or is_emulated else _DTYPES[name]
    if name == "auto":
        name = "bf16" if _multiplies_bfloat16() else "fp32"
    return _DTYPES[name]


def _multiplies_bfloat16() -> bool:
    """Whether this processor has bfloat16 products and does not emulate them."""
    try:
        words = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore").split()
    except OSError:
        return False
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(words)


def not_finite_message(precision: torch.dtype) -> str:
    """The error for answers that are no numbers. Only float16 overflows easily."""
    if precision == torch.float16:
        return (
            "the networks gave NaN or infinity, and float16 does that if it overflows. "
            "Set the recipe's precision to bf16 or fp32"
        )
    return (
        "the networks gave NaN or infinity. Look for a member that does so on this image, and "
        "leave it out of the recipe's 'runs'"
    )


def device_name(device: torch.device) -> str:
    """The device in words, for tables."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} thread(s)"


def free_bytes(device: torch.device) -> int:
    """Memory that new tensors can have. On a GPU, torch first gives back what it does not use.

    Recorded graphs keep theirs. No other tensor can have it, though torch counts it as unused.
    """
    if device.type == "cuda":
        release_cached(device)
        return torch.cuda.mem_get_info(device)[0]
    return available_memory()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch, or of a library below it, means that memory ran out."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(hint in str(error) for hint in _OUT_OF_MEMORY)


def release_cached(device: torch.device) -> None:
    """Give back what torch holds but does not use, so that one large block fits again."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


@lru_cache
def on_device(numbers: tuple[float, ...], device: torch.device) -> Tensor:
    """The numbers as float32 (n,) on the device. They stay there: an upload makes a GPU wait."""
    with together(device):
        return torch.tensor(numbers, dtype=torch.float32, device=device)
