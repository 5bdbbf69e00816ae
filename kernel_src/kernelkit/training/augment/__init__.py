"""Augmentation by name: what a recipe may ask for, and how it is done to a batch on the device.

`plan` says which crops get which steps. `device` does those that move no pixels, and normalises.
It is imported late, because the workers that read crops need no torch.
"""

from typing import TYPE_CHECKING

from kernelkit.lazy import lazily
from kernelkit.training.augment.plan import Plan, plan_of

if TYPE_CHECKING:
    from kernelkit.training.augment.device import OnDevice

__all__ = ["OnDevice", "Plan", "plan_of"]

__getattr__ = lazily(__name__, {"device": ("OnDevice",)})
