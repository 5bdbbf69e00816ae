"""Small random networks, and how they are saved. Nothing is trained."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import segmentation_models_pytorch as smp
import torch
import yaml
from torch import Tensor, nn

from kernelkit.checkpoints import Member

UNET = {
    "arch": "Unet",
    "encoder_name": "mobilenet_v2",
    "in_channels": 3,
    "classes": 1,
    "decoder_channels": [32, 16, 8, 8, 8],
    "decoder_attention_type": None,
}
FPN = {
    "arch": "FPN",
    "encoder_name": "tu-test_resnet",
    "encoder_depth": 5,
    "in_channels": 3,
    "classes": 1,
    "decoder_pyramid_channels": 32,
    "decoder_segmentation_channels": 32,
}
# A compiler takes 10 CPU seconds for it, and 25 for the FPN.
COMPILED = {
    "arch": "Unet",
    "encoder_name": "tu-test_resnet",
    "encoder_depth": 3,
    "in_channels": 3,
    "classes": 1,
    "decoder_channels": [8, 8, 8],
}

# Normalised tiles that all networks are asked about.
PIXELS = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def network(description: dict[str, Any], seed: int) -> nn.Module:
    """A network of random weights, with uneven batch norms as after a training."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        arguments = {"encoder_weights": None, **description}
        module = smp.create_model(**arguments)
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d):
                nn.init.uniform_(layer.running_mean, -0.3, 0.3)
                nn.init.uniform_(layer.running_var, 0.5, 1.5)
                nn.init.uniform_(layer.weight, 0.7, 1.3)
                nn.init.uniform_(layer.bias, -0.2, 0.2)
    return module.eval()


def checkpoint(module: nn.Module, prefix: str = "module.") -> dict[str, Any]:
    """What the HuBMAP training code saves. The loss is a numpy scalar, as it often is."""
    return {
        "epoch": 3,
        "loss": np.float64(0.25),
        "model_state": {prefix + name: tensor for name, tensor in module.state_dict().items()},
        "opt_state": {"lr": np.float32(1e-3), "steps": np.arange(3)},
        "model_name": "a network",
    }


def write_run(
    folder: Path, description: dict[str, Any], seeds: tuple[int, ...], models: str = "models"
) -> list[nn.Module]:
    """Write a run folder with one fold per seed, and return the networks as they were saved."""
    folder.mkdir(parents=True)
    (folder / "cfg.yaml").write_text(yaml.safe_dump({"MODEL": description}))
    networks = []
    for index, seed in enumerate(seeds):
        fold = folder / f"fold_{index}" / models
        fold.mkdir(parents=True)
        networks.append(network(description, seed))
        torch.save(checkpoint(networks[-1]), fold / f"e2_t4_cmax_ema_0.9{seed}.pth")
    return networks


def write_fold(folder: Path, module: nn.Module, name: str = "e1_t1_cmax_val_0.5.pth") -> None:
    """Write one checkpoint of `module` into a fold."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(checkpoint(module), folder / name)


def tiles(count: int, size: tuple[int, int] = (64, 64), bands: int = 3, seed: int = 0) -> Any:
    """Random tiles (count, bands, h, w), uint8."""
    shape = count, bands, *size
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@torch.no_grad()
def answer(module: nn.Module, pixels: Tensor) -> Tensor:
    """Logits of normalised pixels."""
    return module(pixels)


def same_answers(members: Sequence[Member], networks: Sequence[nn.Module]) -> bool:
    """Whether each member answers, bit for bit, as the network that was saved for it."""
    return all(
        torch.equal(answer(member.module, PIXELS), answer(module, PIXELS))
        for member, module in zip(members, networks, strict=True)
    )
