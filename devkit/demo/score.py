"""How good the demo's networks are: Dice over pixels, of each checkpoint and of the ensembles."""

import time
from collections.abc import Iterable, Sequence
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
from kernelkit.mask import BitMask

__all__ = ["dice", "held_out_scores", "network_dice", "probabilities"]


def probabilities(network: nn.Module, pixels: Tensor) -> np.ndarray:
    """The probabilities, (H, W) float32, that a network gives for one image.

    The network sees the whole image at once. Its right and lower edges are mirrored up to a
    multiple of 32.

    Parameters
    ----------
    network
        The network. It is left in evaluation mode.
    pixels
        The normalised image, (C, H, W).
    """
    network.eval()
    height, width = pixels.shape[1:]
    padded = F.pad(pixels[None], (0, -width % 32, 0, -height % 32), mode="reflect")
    with torch.inference_mode():
        logits = network(padded.contiguous(memory_format=torch.channels_last))
    return logits[0, 0, :height, :width].float().sigmoid().numpy()


def dice(predicted: Iterable[np.ndarray], labels: Iterable[np.ndarray]) -> float:
    """Dice over the pixels of all bool masks together. It is 1 if all masks are empty."""
    return _side_by_side(predicted).dice(_side_by_side(labels))


def network_dice(network: nn.Module, images: Sequence[Tensors]) -> float:
    """Dice of a network at threshold 0.5 over all the images together."""
    predicted = [probabilities(network, pixels) > 0.5 for pixels, _ in images]
    return dice(predicted, [mask[0].numpy() > 0.5 for _, mask in images])


def held_out_scores(
    runs: Sequence[Run], competition: Path, solution: Path, models: Path
) -> dict[str, Any]:
    """Dice on held-out images, of each fold's best checkpoint and of the ensembles.

    An ensemble is all runs that share images. Its mask is the mean of the members' probabilities
    at threshold 0.5.

    Parameters
    ----------
    runs
        What was trained.
    competition, solution
        The folder of the competition, and the CSV file with the labels of its test images.
    models
        The run folders.

    Returns
    -------
    Two keys: `members`, a list of rows, and `ensembles`, the Dice by the images' prefix.
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
    """A member's probabilities for every image. Its run's cfg.yaml says how to normalise."""
    data = yaml.safe_load((models / member.run / "cfg.yaml").read_text())["DATA"]
    tensors = [image.tensors(data["divide"], data["mean"], data["std"]) for image in images]
    return [probabilities(member.module, pixels) for pixels, _ in tensors]


def _side_by_side(masks: Iterable[np.ndarray]) -> BitMask:
    """Masks of any sizes as one long mask."""
    return BitMask.from_array(np.concatenate([mask.ravel() for mask in masks])[np.newaxis])


def _dice_of(predicted: Sequence[np.ndarray], images: Sequence[LabelledImage]) -> float:
    return round(dice([p > 0.5 for p in predicted], [image.mask for image in images]), 4)


def _row(member: Member, heldout_dice: float) -> dict[str, Any]:
    return {
        "run": member.run,
        "fold": member.fold,
        "checkpoint": member.path.name,
        "architecture": member.architecture,
        "parameters": member.parameters,
        "validation_dice": member.score,
        "heldout_dice": heldout_dice,
        "milliseconds_per_tile": round(_milliseconds_per_tile(member), 1),
    }


def _milliseconds_per_tile(member: Member) -> float:
    """The time of one tile of 256 x 256, in float32 and batches of four: the best of five."""
    tiles = torch.zeros(4, member.channels, 256, 256)
    seconds = []
    with torch.inference_mode():
        for _ in range(5):
            start = time.perf_counter()
            member.module(tiles)
            seconds.append(time.perf_counter() - start)
    return min(seconds) / len(tiles) * 1e3
