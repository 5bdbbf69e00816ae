"""How good the demo's networks are: Dice over pixels, of each checkpoint and of the ensembles."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn

from devkit.demo.crops import LabelledImage, Tensors, read_labelled
from devkit.demo.runs import Run
from kernelkit.checkpoints import Member, load_members

__all__ = ["dice", "network_dice", "probabilities", "report"]


def probabilities(network: nn.Module, pixels: Tensor) -> np.ndarray:
    """What a network makes of one normalised image, (C, H, W): probabilities, (H, W) float32.

    The whole image is seen at once, its right and lower edges mirrored up to a multiple of 32.
    """
    network.eval()
    height, width = pixels.shape[1:]
    padded = F.pad(pixels[None], (0, -width % 32, 0, -height % 32), mode="reflect")
    with torch.inference_mode():
        logits = network(padded.contiguous(memory_format=torch.channels_last))
    return logits[0, 0, :height, :width].float().sigmoid().numpy()


def dice(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """Dice over the pixels of all pairs of bool masks together; 1 where all masks are empty."""
    both = sum(int((a & b).sum()) for a, b in pairs)
    sizes = sum(int(a.sum()) + int(b.sum()) for a, b in pairs)
    return 2 * both / sizes if sizes else 1.0


def network_dice(network: nn.Module, images: Sequence[Tensors]) -> float:
    """Dice of a network at threshold 0.5 over all the images together."""
    return dice([(probabilities(network, x) > 0.5, y[0].numpy() > 0.5) for x, y in images])


def report(runs: Sequence[Run], competition: Path, solution: Path, models: Path) -> dict[str, Any]:
    """Held-out Dice of each fold's best checkpoint and of the runs that share images together.

    The keys are `members` (a list of rows) and `ensembles` (Dice by the images' prefix), the mean
    of the members' probabilities at threshold 0.5.
    """
    rows: list[dict[str, Any]] = []
    ensembles: dict[str, float] = {}
    for prefix in dict.fromkeys(run.images for run in runs):
        images = read_labelled(competition / "test", solution, prefix)
        members = load_members(models, [run.name for run in runs if run.images == prefix])
        predicted = [_predict(member, images, models) for member in members]
        for member, masks in zip(members, predicted, strict=True):
            rows.append(_row(member, _dice_of(masks, images)))
        means = [np.mean(of_image, axis=0) for of_image in zip(*predicted, strict=True)]
        ensembles[prefix.rstrip("_")] = _dice_of(means, images)
    return {"members": rows, "ensembles": ensembles}


def _predict(member: Member, images: Sequence[LabelledImage], models: Path) -> list[np.ndarray]:
    """A member's probabilities for every image, normalised as its run's cfg.yaml says."""
    data = yaml.safe_load((models / member.run / "cfg.yaml").read_text())["DATA"]
    tensors = [image.tensors(data["divide"], data["mean"], data["std"]) for image in images]
    return [probabilities(member.module, pixels) for pixels, _ in tensors]


def _dice_of(predicted: Sequence[np.ndarray], images: Sequence[LabelledImage]) -> float:
    pairs = [(p > 0.5, image.mask) for p, image in zip(predicted, images, strict=True)]
    return round(dice(pairs), 4)


def _row(member: Member, heldout_dice: float) -> dict[str, Any]:
    return {
        "run": member.run,
        "fold": member.fold,
        "checkpoint": member.path.name,
        "architecture": member.architecture,
        "parameters": member.parameters,
        "validation_dice": member.score,
        "heldout_dice": heldout_dice,
        "milliseconds_a_tile": round(_milliseconds_a_tile(member), 1),
    }


def _milliseconds_a_tile(member: Member) -> float:
    """Time for one tile of 256 x 256, in float32 and batches of four: the best of five."""
    tiles = torch.zeros(4, member.channels, 256, 256)
    seconds = []
    with torch.inference_mode():
        for _ in range(5):
            start = time.perf_counter()
            member.module(tiles)
            seconds.append(time.perf_counter() - start)
    return min(seconds) / len(tiles) * 1e3
