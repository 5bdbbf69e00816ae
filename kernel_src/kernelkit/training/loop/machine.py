"""Where a fold is trained: on which device, in which arithmetic, with how many others."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch

from kernelkit.ensemble.device import choose_device, choose_precision
from kernelkit.errors import DeviceError
from kernelkit.vocabulary import Precision

__all__ = ["Machine", "Share", "arithmetic", "free_port", "trainer_options"]


@dataclass(frozen=True)
class Share:
    """Which of several processes that train one fold together this is.

    Attributes
    ----------
    rank, world
        The number of this process, of how many.
    port
        Where the first one listens, on this machine.
    """

    rank: int = 0
    world: int = 1
    port: int = 0

    def announce(self) -> None:
        """Tell Lightning of the others. They were started already."""
        if self.world > 1:
            os.environ.update(
                MASTER_ADDR="127.0.0.1",
                MASTER_PORT=str(self.port),
                NODE_RANK="0",
                LOCAL_RANK=str(self.rank),
            )


def free_port() -> int:
    """A port that nobody listens at now."""
    from torch.distributed.elastic.utils.distributed import get_free_port

    return int(get_free_port())


@dataclass(frozen=True)
class Machine:
    """The devices that folds are trained on.

    Attributes
    ----------
    devices
        One per process. A fold has one, or all if it is the only fold.
    """

    devices: tuple[torch.device, ...]

    @classmethod
    def of(cls, devices: str) -> Self:
        """The devices that a text names.

        Parameters
        ----------
        devices
            `auto` is all GPUs, or one process per core if there is none. Else names between
            commas, such as `cuda:0,cuda:1` or `cpu,cpu`.

        Raises
        ------
        DeviceError
            There is no such device, or they are of two kinds.
        """
        if devices == "auto":
            gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
            cores = len(os.sched_getaffinity(0))
            found = [torch.device("cuda", i) for i in range(gpus)] or [torch.device("cpu")] * cores
            return cls(tuple(found))
        chosen = [choose_device(name.strip()) for name in devices.split(",")]
        chosen = [
            torch.device("cuda", one.index or 0) if one.type == "cuda" else one for one in chosen
        ]
        if len({one.type for one in chosen}) > 1:
            raise DeviceError(
                f"found the devices {devices}, wanted GPUs or processors. Name devices of one kind"
            )
        return cls(tuple(chosen))

    def shares(self, folds: int, devices: str) -> int:
        """How many processes train one fold together.

        Several do if it is the only fold, on several GPUs or on processors that were named.
        """
        is_meant = self.devices[0].type == "cuda" or devices != "auto"
        return len(self.devices) if folds == 1 and is_meant else 1


def arithmetic(precision: Precision, device: torch.device) -> tuple[str, str]:
    """Lightning's word for a precision, and a sentence if it is not what was asked for.

    On a GPU `auto` is bfloat16 if the card multiplies in it. Gradients in float16 need a scale that
    follows them, so it comes second. A processor trains in float32 instead of float16.
    """
    if device.type == "cuda" and precision == "auto":
        has_bfloat16 = torch.cuda.get_device_capability(device) >= (8, 0)
        return ("bf16-mixed" if has_bfloat16 else "16-mixed"), ""
    chosen = choose_precision(precision, device)
    if device.type == "cpu" and chosen == torch.float16:
        return "32-true", "the precision is fp32, because a processor does not train in fp16"
    return {
        torch.float32: "32-true",
        torch.bfloat16: "bf16-mixed",
        torch.float16: "16-mixed",
    }[chosen], ""


def trainer_options(devices: Sequence[torch.device], share: Share, unused: bool) -> dict[str, Any]:
    """Lightning's arguments for the device of a process, or for those of all that share a fold.

    Parameters
    ----------
    devices
        Of all processes that share the fold.
    unused
        Whether some weights get no gradient at times, because they are frozen.
    """
    from pytorch_lightning.strategies import DDPStrategy

    is_gpu = devices[0].type == "cuda"
    numbers: Any = [device.index or 0 for device in devices] if is_gpu else len(devices)
    options: dict[str, Any] = {"accelerator": "gpu" if is_gpu else "cpu", "devices": numbers}
    if share.world > 1:
        backend = "nccl" if is_gpu else "gloo"
        options["strategy"] = DDPStrategy(
            process_group_backend=backend, find_unused_parameters=unused
        )
    return options
