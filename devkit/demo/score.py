"""How good the demo's networks are: Dice over pixels, of each checkpoint and of the ensembles."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from devkit.demo.crops import LabelledImage, read_labelled
from devkit.demo.runs import Run
from devkit.demo.tasks import answers, dice
from kernelkit.checkpoints import Member, load_members

__all__ = ["held_out_scores"]


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
    return [answers("sigmoid", member.module, pixels) for pixels, _ in tensors]


def _dice_of(predicted: Sequence[np.ndarray], images: Sequence[LabelledImage]) -> float:
    return round(dice([p > 0.5 for p in predicted], [image.masks for image in images]), 4)


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
