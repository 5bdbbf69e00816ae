"""Where the notebook runs: at home, in a Kaggle session, or in the hidden rerun that is scored.

In the hidden rerun nobody can look. What is meant for trying things out is ignored there: the limit
of images is lifted, and `strict` is off. A notebook that fails has no score at all.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from kernelkit.ensemble.device import has_code_for
from kernelkit.errors import DeviceError

__all__ = ["Session"]


@dataclass(frozen=True, slots=True)
class Session:
    """What the environment says about this run.

    Attributes
    ----------
    on_kaggle
        A Kaggle kernel, interactive or batch.
    is_rerun
        The hidden rerun of a code competition.
    """

    on_kaggle: bool
    is_rerun: bool

    @classmethod
    def detect(cls, environment: Mapping[str, str] = os.environ) -> "Session":
        """Read the variables that Kaggle sets."""
        is_rerun = bool(environment.get("KAGGLE_IS_COMPETITION_RERUN"))
        return cls(on_kaggle=is_rerun or "KAGGLE_KERNEL_RUN_TYPE" in environment, is_rerun=is_rerun)

    def limit(self, images: int) -> int | None:
        """How many images to predict at most. None means all, as in the rerun."""
        return None if self.is_rerun or images <= 0 else images

    def strict(self, wanted: bool) -> bool:
        """Whether a bad image fails the run: never in the rerun."""
        return wanted and not self.is_rerun

    def device(self, allow_cpu: bool = False) -> torch.device:
        """The device to predict on.

        Raises
        ------
        DeviceError
            The session is on Kaggle and has no GPU. Nine hours would not do without one, unless
            `allow_cpu` says so. Or torch was built without code for a GPU that is there.
        """
        if torch.cuda.is_available():
            _refuse_without_code()
            return torch.device("cuda")
        if self.on_kaggle and not allow_cpu:
            raise DeviceError(
                "this Kaggle session has no GPU. Switch the accelerator on in the notebook's "
                "settings, or set allow_cpu = True to go on without one"
            )
        return torch.device("cpu")

    def __str__(self) -> str:
        if self.is_rerun:
            return "the hidden rerun (all images, strict off)"
        return "a Kaggle session" if self.on_kaggle else "a machine of your own"


def _refuse_without_code() -> None:
    """Refuse a GPU that torch sees and cannot compute on, before any network is loaded."""
    architectures = torch.cuda.get_arch_list()
    for index in range(torch.cuda.device_count()):
        capability = torch.cuda.get_device_capability(index)
        if not has_code_for(capability, architectures):
            raise DeviceError(
                f"cuda:{index}: found {torch.cuda.get_device_name(index)} (sm_{capability[0]}"
                f"{capability[1]}), and torch {torch.__version__} has code for "
                f"{', '.join(architectures)}. Set accelerator to NvidiaTeslaT4 in kaggle.toml, and "
                "push again"
            )
