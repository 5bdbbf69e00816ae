"""`make_optimiser`: an optimiser of timm's, with the parameters in groups.

Biases and norms have no weight decay. Neither has any other parameter of one dimension.
"""

from typing import Any

from timm.optim import create_optimizer_v2
from torch import nn
from torch.optim import Optimizer

from kernelkit.errors import TrainingError
from kernelkit.training.recipe import Optimiser

__all__ = ["make_optimiser"]


def make_optimiser(wanted: Optimiser, network: nn.Module) -> Optimizer:
    """Return the optimiser of all parameters of a network, frozen ones too.

    Parameters
    ----------
    wanted
        Which optimiser, and its settings.

    Raises
    ------
    TrainingError
        The network has no encoder, although that is to learn at another rate.
    """
    arguments: dict[str, Any] = {}
    if wanted.amsgrad:
        arguments["amsgrad"] = True
    for name in ("betas", "eps"):
        value = getattr(wanted, name)
        if value is not None:
            arguments[name] = value
    return create_optimizer_v2(
        _groups(wanted, network),
        opt=wanted.name,
        lr=wanted.lr,
        weight_decay=wanted.weight_decay,
        momentum=wanted.momentum,
        **arguments,
    )


def _groups(wanted: Optimiser, network: nn.Module) -> list[dict[str, Any]]:
    """The parameters by weight decay, and by what their learning rate is multiplied by."""
    if wanted.encoder_lr != 1 and not hasattr(network, "encoder"):
        raise TrainingError(
            f"found optimiser.encoder_lr {wanted.encoder_lr:g}, but {type(network).__name__} has no"
            " encoder. Leave it out"
        )
    own: Any = getattr(network, "no_weight_decay", tuple)  # as networks of timm have it
    spared = set(own())
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        is_spared = parameter.ndim <= 1 or name.endswith(".bias") or name in spared
        decay = 0.0 if is_spared else wanted.weight_decay
        scale = wanted.encoder_lr if name.startswith("encoder.") else 1.0
        groups.setdefault((decay, scale), []).append(parameter)
    return [
        {
            "params": parameters,
            "weight_decay": decay,
            "lr_scale": scale,
        }
        for (decay, scale), parameters in groups.items()
    ]
