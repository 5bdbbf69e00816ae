"""What the networks run on: which device, in which precision, with how much memory left."""

from pathlib import Path

import torch

from kernelkit.errors import DeviceError

__all__ = [
    "choose_device",
    "choose_precision",
    "device_name",
    "free_bytes",
    "is_out_of_memory",
    "release_cached",
]

_PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# How libraries below torch's own allocator say that memory ran out.
_OUT_OF_MEMORY = ("out of memory", "ALLOC_FAILED", "can't allocate memory")
_CGROUP = Path("/sys/fs/cgroup")


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
    """The dtype of the networks' arithmetic; `auto` is the fastest that is safe on the device.

    On a GPU that is float16, which all have in hardware; those below compute capability 8 may
    claim bfloat16 and emulate it, so they get float16 even where bfloat16 is asked for. On a CPU
    it is bfloat16 where the processor multiplies in it, and float32 elsewhere.
    """
    if device.type == "cuda":
        emulated = name == "bf16" and torch.cuda.get_device_capability(device) < (8, 0)
        return torch.float16 if name == "auto" or emulated else _PRECISIONS[name]
    if name == "auto":
        name = "bf16" if _multiplies_bfloat16() else "fp32"
    return _PRECISIONS[name]


def _multiplies_bfloat16() -> bool:
    """Whether this processor has bfloat16 products, rather than emulating them."""
    try:
        words = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore").split()
    except OSError:
        return False
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(words)


def device_name(device: torch.device) -> str:
    """The device in words, for tables."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} thread(s)"


def free_bytes(device: torch.device) -> int:
    """Memory that new tensors can have: free on the device, or held by torch without use."""
    if device.type == "cuda":
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + held
    return min(_host_available(), _group_available())


def _host_available() -> int:
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise DeviceError("/proc/meminfo does not say how much memory is available.")


def _group_available() -> int:
    """What the container's own limit leaves, its file cache counted as free."""
    try:
        limit = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text())
        entries = (line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
        cached = int(dict(entries).get("inactive_file", 0))
    except (OSError, ValueError):  # no such group, or its limit is the word "max"
        return 1 << 62
    return max(0, limit - used + cached)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch, or of a library below it, means that memory ran out."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(hint in str(error) for hint in _OUT_OF_MEMORY)


def release_cached(device: torch.device) -> None:
    """Give back what torch holds without use, so that one large block can be had again."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
