"""Optimisers: which parameters decay, and at which rate they learn."""

from typing import get_args

import pytest
import torch
from torch import nn

from kernelkit.checkpoints.networks import build
from kernelkit.errors import TrainingError
from kernelkit.training.optimisers import make_optimiser
from kernelkit.training.recipe import Optimiser, Schedule
from kernelkit.training.recipe.steps import OptimiserName
from kernelkit.training.schedules import make_schedule
from tests.made.networks import FPN


@pytest.mark.parametrize("name", get_args(OptimiserName))
def test_every_optimiser_makes_a_step(name: str) -> None:
    """Each name is one of timm's, and lowers the loss of a line."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    pixels = torch.randn(64, 4)
    wanted = pixels @ torch.tensor([[1.0], [2], [-1], [0.5]])
    optimiser = make_optimiser(Optimiser(name=name, lr=1e-2, weight_decay=1e-4), network)

    def loss() -> torch.Tensor:
        return (network(pixels) - wanted).square().mean()

    before = loss().item()
    for _ in range(20):
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()
    assert loss().item() < before


def test_biases_and_norms_do_not_decay() -> None:
    """Only weights of two and more dimensions do, and every parameter is in one group."""
    network = build(FPN, "test")
    optimiser = make_optimiser(Optimiser(weight_decay=0.1), network)
    decays = {id(p): g["weight_decay"] for g in optimiser.param_groups for p in g["params"]}
    assert len(decays) == len(list(network.parameters()))
    spared = set()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
            spared |= {id(parameter) for parameter in module.parameters()}
        elif isinstance(module, nn.Conv2d):
            assert decays[id(module.weight)] == 0.1
            spared |= {id(module.bias)} - {id(None)}
    assert {key for key, decay in decays.items() if decay == 0} == spared


def test_adamw_keeps_the_greatest_moment_if_asked() -> None:
    """`amsgrad` reaches the optimiser, and so do betas and eps."""
    wanted = Optimiser(name="adamw", amsgrad=True, betas=(0.8, 0.9), eps=1e-6)
    (group,) = make_optimiser(wanted, nn.Linear(2, 2, bias=False)).param_groups
    assert (group["amsgrad"], group["betas"], group["eps"]) == (True, (0.8, 0.9), 1e-6)


@pytest.mark.parametrize(("name", "nesterov"), [("sgd", True), ("momentum", False)])
def test_sgd_has_nesterovs_momentum_and_momentum_the_plain_one(name: str, nesterov: bool) -> None:
    """The names are timm's, which mean what the recipe's page says."""
    wanted = Optimiser(name=name, momentum=0.8)
    (group,) = make_optimiser(wanted, nn.Linear(2, 2, bias=False)).param_groups
    assert (group["nesterov"], group["momentum"]) == (nesterov, 0.8)


def test_an_encoder_may_learn_at_a_rate_of_its_own() -> None:
    """The schedule multiplies its rate at every update, also at the first one."""
    network = build(FPN, "test")
    optimiser = make_optimiser(Optimiser(lr=1e-2, encoder_lr=0.1), network)
    schedule = make_schedule(Schedule(name="poly", power=1), optimiser, 1, 10)
    encoder = {id(parameter) for parameter in network.encoder.parameters()}
    for update in (0, 5):
        schedule.step_update(update)
        for group in optimiser.param_groups:
            is_encoder = id(group["params"][0]) in encoder
            highest = 1e-3 if is_encoder else 1e-2
            assert group["lr"] == pytest.approx(highest * (1 - update / 10))


def test_a_network_without_an_encoder_has_no_rate_for_it() -> None:
    """The message has the network, and what to do."""
    with pytest.raises(TrainingError, match="Linear has no encoder. Leave it out"):
        make_optimiser(Optimiser(encoder_lr=0.1), nn.Linear(2, 2))
