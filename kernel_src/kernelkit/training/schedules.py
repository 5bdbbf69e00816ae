"""`make_schedule`: the learning rate as a function of the number of updates, as timm has it.

A schedule has no memory. `step_update(n)` sets the rate after n updates. So a training that goes on
needs nothing but that number.
"""

import math
from typing import Any

from timm.scheduler import CosineLRScheduler, PolyLRScheduler, StepLRScheduler
from timm.scheduler.scheduler import Scheduler
from torch.optim import Optimizer

from kernelkit.training.recipe import Schedule

__all__ = ["make_schedule"]


def make_schedule(wanted: Schedule, optimiser: Optimizer, epochs: int, updates: int) -> Scheduler:
    """Return the course of the learning rate.

    Parameters
    ----------
    wanted
        The course.
    optimiser
        Each of its parameter groups has the highest rate that it reaches.
    epochs
        How many epochs there are.
    updates
        How many updates an epoch has.
    """
    total = max(1, epochs * updates)
    warmup = min(round(wanted.warmup * total), total - 1)
    begin: dict[str, Any] = {
        "warmup_t": warmup,
        "warmup_lr_init": wanted.warmup_lr,
        "warmup_prefix": True,
        "t_in_epochs": False,
    }
    match wanted.name:
        case "cosine":
            return _Cosine(
                optimiser,
                t_initial=(total - warmup) // wanted.restarts,
                lr_min=wanted.min_lr,
                cycle_limit=wanted.restarts,
                **begin,
            )
        case "poly":
            return PolyLRScheduler(optimiser, t_initial=total - warmup, power=wanted.power, **begin)
        case "step":
            every = (wanted.every or epochs) * updates
            return StepLRScheduler(optimiser, decay_t=every, decay_rate=wanted.factor, **begin)
    return StepLRScheduler(optimiser, decay_t=total, decay_rate=1.0, **begin)


class _Cosine(CosineLRScheduler):
    """timm's cosine, with a warm-up that goes up half a cosine instead of a line."""

    def _get_lr(self, t: int) -> list[float]:
        if t >= self.warmup_t:
            return super()._get_lr(t)
        share = 0.5 * (1 - math.cos(math.pi * t / self.warmup_t))
        return [
            self.warmup_lr_init + share * (top - self.warmup_lr_init) for top in self.base_values
        ]
