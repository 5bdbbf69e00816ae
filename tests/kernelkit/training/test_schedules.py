"""The course of the learning rate, against torch's own and against formulas."""

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts, PolynomialLR, StepLR

from kernelkit.training.recipe import Schedule
from kernelkit.training.schedules import make_schedule

EPOCHS, UPDATES, HIGHEST = 10, 7, 1e-2
TOTAL = EPOCHS * UPDATES


def optimiser() -> torch.optim.Optimizer:
    return torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=HIGHEST)


def rates(**keys: Any) -> list[float]:
    """The learning rate at each update."""
    made = optimiser()
    schedule = make_schedule(Schedule(**keys), made, EPOCHS, UPDATES)
    found = []
    for update in range(TOTAL):
        schedule.step_update(update)
        found.append(made.param_groups[0]["lr"])
    return found


def of_torch(kind: Any, *arguments: Any, **options: Any) -> list[float]:
    made = optimiser()
    schedule = kind(made, *arguments, **options)
    found = []
    for _ in range(TOTAL):
        found.append(made.param_groups[0]["lr"])
        made.step()
        schedule.step()
    return found


def test_restarts_are_those_of_torch() -> None:
    """The cosine begins again after each period, and ends at `min_lr`."""
    wanted = of_torch(CosineAnnealingWarmRestarts, TOTAL // 5, eta_min=1e-4)
    assert rates(name="cosine", restarts=5, min_lr=1e-4) == pytest.approx(wanted)


def test_the_polynomial_is_that_of_torch() -> None:
    """It reaches 0 after the last update."""
    wanted = of_torch(PolynomialLR, TOTAL, power=0.9)
    assert rates(name="poly", power=0.9) == pytest.approx(wanted)


def test_steps_are_those_of_torch() -> None:
    """The rate falls after every so many epochs."""
    wanted = of_torch(StepLR, 3 * UPDATES, gamma=0.2)
    assert rates(name="step", every=3, factor=0.2) == pytest.approx(wanted)


def test_a_constant_rate_stays() -> None:
    """All updates have the highest rate."""
    assert rates(name="constant") == [HIGHEST] * TOTAL


def test_the_warm_up_of_hubmap_goes_up_one_cosine_and_down_another() -> None:
    """Its author's formulas: 2e-5 to 8e-4 over the first fifth, then down to 3e-5."""
    found = rates(name="cosine", warmup=0.2, warmup_lr=2e-5, min_lr=3e-5)
    for update, rate in enumerate(found):
        if update < 14:
            wanted = 2e-5 + (HIGHEST - 2e-5) * (1 - math.cos(math.pi * update / 14)) / 2
        else:
            share = (update - 14) / (TOTAL - 14)
            wanted = 3e-5 + (HIGHEST - 3e-5) * (1 + math.cos(math.pi * share)) / 2
        assert rate == pytest.approx(wanted), update
    assert max(found) == found[14] == HIGHEST


@pytest.mark.parametrize(
    "keys",
    [
        {"name": "cosine", "warmup": 0.3},
        {"name": "cosine", "restarts": 2},
        {"name": "poly", "warmup": 0.1},
        {"name": "step", "every": 2},
    ],
    ids=str,
)
def test_a_schedule_goes_on_from_the_number_of_updates(keys: dict[str, Any]) -> None:
    """A new schedule that is told an update gives the rate that the first one gave there."""
    wanted = rates(**keys)
    for update in (0, 13, 35, TOTAL - 1):
        made = optimiser()
        make_schedule(Schedule(**keys), made, EPOCHS, UPDATES).step_update(update)
        assert made.param_groups[0]["lr"] == wanted[update]


def test_a_training_of_one_update_has_a_rate() -> None:
    """Neither a warm-up nor a cosine needs more than that."""
    made = optimiser()
    schedule = make_schedule(Schedule(warmup=0.5), made, 1, 1)
    schedule.step_update(0)
    assert made.param_groups[0]["lr"] == HIGHEST
