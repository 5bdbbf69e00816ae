"""How good the demo's networks are: Dice over pixels, of each checkpoint and of the ensembles."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from kernelkit.checkpoints import Member, load_members
from kernelkit.evaluation.metrics import Counts
from kernelkit.mask import BitMask
from kernelkit.recipe import NetworkInput
from kernelkit.slide import Slide
from kernelkit.training.recipe import TrainingRecipe

__all__ = ["held_out_scores"]


@dataclass(frozen=True)
class _Image:
    """A labelled test image: (C, H, W) in its own dtype, and its mask."""

    pixels: np.ndarray
    mask: BitMask


def held_out_scores(
    training: TrainingRecipe, competition: Path, solution: Path, models: Path
) -> dict[str, Any]:
    """Dice on held-out images, of each fold's best checkpoint and of the ensembles.

    An ensemble's mask is the mean of its members' probabilities at threshold 0.5.

    Parameters
    ----------
    training
        What was trained.
    competition, solution
        The folder of the competition, and the CSV file with the labels of its test images.
    models
        The run folders.

    Returns
    -------
    Two keys: `members`, a list of rows, and `ensembles`, the Dice by the ensembles' names.
    """
    rows: list[dict[str, Any]] = []
    ensembles: dict[str, float] = {}
    for name in dict.fromkeys(run.ensemble for run in training.runs.values()):
        runs = [run for run in training.runs.values() if run.ensemble == name]
        images = _read(competition / "test", solution, runs[0].only)
        members = load_members(models, [run.name for run in runs])
        predicted = [[_answer(member, one, runs[0].input) for one in images] for member in members]
        for member, found in zip(members, predicted, strict=True):
            rows.append(_row(member, _dice(found, images)))
        means = [np.mean(of_image, axis=0) for of_image in zip(*predicted, strict=True)]
        ensembles[str(name)] = _dice(means, images)
    return {"members": rows, "ensembles": ensembles}


def _read(folder: Path, solution: Path, only: Sequence[str]) -> list[_Image]:
    """The images of a folder whose ids match a pattern, with their masks."""
    rows = pd.read_csv(solution, keep_default_na=False)
    images = []
    for name, encoding in zip(rows["id"], rows["encoding"], strict=True):
        if any(fnmatchcase(name, pattern) for pattern in only):
            with Slide(folder / f"{name}.tiff") as slide:
                pixels = slide.read(slide.bounds)
                mask = BitMask.from_rle(encoding, (slide.height, slide.width))
            images.append(_Image(pixels, mask))
    return images


def _answer(member: Member, image: _Image, given: NetworkInput) -> np.ndarray:
    """A member's probabilities for an image, which it sees at once. Edges are mirrored up to 32."""
    pixels = torch.from_numpy(image.pixels.astype(np.float32)) / given.divide
    mean, std = (torch.tensor(values).reshape(-1, 1, 1) for values in (given.mean, given.std))
    height, width = pixels.shape[1:]
    seen = F.pad((pixels - mean)[None] / std, (0, -width % 32, 0, -height % 32), mode="reflect")
    with torch.inference_mode():
        return np.asarray(member.module(seen)[0, 0, :height, :width].float().sigmoid())


def _dice(found: Sequence[np.ndarray], images: Sequence[_Image]) -> float:
    """Dice over the pixels of all images together."""
    counts = [
        Counts.of(BitMask.from_array(one > 0.5), image.mask)
        for one, image in zip(found, images, strict=True)
    ]
    return round(sum(counts, Counts()).dice, 4)


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
