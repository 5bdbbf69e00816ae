"""What a validation report says beside the scores: calibration, sizes of objects, members."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kernelkit.evaluation.metrics import Counts, dice_of
from kernelkit.evaluation.objects import overlaps_of
from kernelkit.evaluation.scored import MasksOf, ScoreTable, score_images
from kernelkit.evaluation.search.levels import shares_of
from kernelkit.evaluation.search.sweep import FULL
from kernelkit.jit import compiled
from kernelkit.mask import BitMask
from kernelkit.predict.hand_in.stored_image import StoredImage
from kernelkit.predict.hand_in.variants import Way

__all__ = ["Calibration", "calibrate", "leave_one_run_out", "score_by_object_size", "score_objects"]

# Bins of probability in the picture of the calibration.
_BINS = 20
# Groups of objects by their size, with about equally many in each.
_SIZES = 5
_ROWS = 1024


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """How often pixels of a probability are true.

    Attributes
    ----------
    pixels, true
        float64 (256,): how many pixels have the probability of each byte, and how many are true.
    """

    pixels: NDArray[np.float64]
    true: NDArray[np.float64]

    @property
    def bins(self) -> pd.DataFrame:
        """Bins of equal width: their mean probability, their share of truth, and their pixels."""
        place = np.arange(256) * _BINS // 256
        pixels, true, sums = (
            np.bincount(place, each, _BINS)
            for each in (self.pixels, self.true, self.pixels * np.arange(256) / 255)
        )
        filled = pixels > 0
        return pd.DataFrame(
            {
                "probability": sums[filled] / pixels[filled],
                "true": true[filled] / pixels[filled],
                "pixels": pixels[filled],
            }
        )

    @property
    def error(self) -> float:
        """The expected calibration error: how far both are apart, on the mean of all pixels."""
        bins = self.bins
        weights = bins["pixels"] / bins["pixels"].sum()
        return float((weights * (bins["probability"] - bins["true"]).abs()).sum())


def calibrate(
    images: Sequence[str],
    stored: Callable[[str], StoredImage],
    way: Way,
    truth: MasksOf,
    labels: Sequence[int],
) -> Calibration:
    """Compare the probabilities of all pixels that hold data, of all classes, with the truth."""
    pixels, true = np.zeros(256), np.zeros(256)
    for image in images:
        found = stored(image)
        planes = found.planes(way)
        _, height, width = planes.shape
        counts = np.full((height, width), FULL, np.uint8)
        if found.held is not None:
            counts = shares_of(found.held, (height, width), found.scale)
        for label, mask in zip(labels, truth(image), strict=True):
            shares = shares_of(mask, (height, width), found.scale)
            for top in range(0, height, _ROWS):
                values = planes[:, top : min(top + _ROWS, height)][label]
                if values.dtype != np.uint8:
                    values = np.rint(values * np.float32(255)).astype(np.uint8)
                kept = counts[top : top + _ROWS] > FULL // 2
                _count_bytes(values[kept], shares[top : top + _ROWS][kept], pixels, true)
    return Calibration(pixels, true / 255)


def score_objects(
    images: Sequence[str], classes: Sequence[str], found: MasksOf, truth: MasksOf
) -> pd.DataFrame:
    """How many objects of each class are found rightly. They are connected components.

    Returns
    -------
    One row per class: true and found objects, and their F1 over all images at an IoU above one
    half. Last is the Data Science Bowl's score, the mean of the images' precision.
    """
    counts = [Counts() for _ in classes]
    precisions: list[list[float]] = [[] for _ in classes]
    for image in images:
        pairs = zip(found(image), truth(image), strict=True)
        for number, (predicted, mask) in enumerate(pairs):
            overlaps = overlaps_of(predicted, mask)
            counts[number] += overlaps.counts()
            precisions[number].append(overlaps.precision)
    return pd.DataFrame(
        {
            "class": [name or "target" for name in classes],
            "true": [each.true_positives + each.false_negatives for each in counts],
            "found": [each.true_positives + each.false_positives for each in counts],
            "F1 at IoU .5": [each.f1 for each in counts],
            "precision at IoU .5 to .95": [float(np.mean(each)) for each in precisions],
        }
    )


def score_by_object_size(images: Sequence[str], found: MasksOf, truth: MasksOf) -> pd.DataFrame:
    """How well true objects are found, by their size.

    Returns
    -------
    One row per group of sizes: from which area to which, and how many objects there are. Then
    their mean Dice with the found object that fits best, and the share whose IoU is above one half.
    """
    areas, dice, matched = [], [], []
    for image in images:
        for predicted, mask in zip(found(image), truth(image), strict=True):
            overlaps = overlaps_of(predicted, mask)
            own, true, both = overlaps.pairs.T
            each = dice_of(both, overlaps.found_areas[own], overlaps.true_areas[true])
            best = np.zeros(len(overlaps.true_areas))
            np.maximum.at(best, true, each)
            areas.append(overlaps.true_areas)
            dice.append(best)
            matched.append(best > 2 / 3)  # the Dice of an IoU of one half
    sizes = np.concatenate([np.empty(0), *areas])
    table = pd.DataFrame(
        {
            "area": sizes,
            "dice": np.concatenate([np.empty(0), *dice]),
            "found": np.concatenate([np.empty(0, bool), *matched]),
        }
    )
    if table.empty:
        return pd.DataFrame(columns=["from", "to", "objects", "dice", "found"])
    ranks = table["area"].rank(method="first").to_numpy()
    group = np.minimum((ranks - 1) * _SIZES // len(table), _SIZES - 1).astype(int)
    parts = table.groupby(group)
    return pd.DataFrame(
        {
            "from": parts["area"].min().astype(int),
            "to": parts["area"].max().astype(int),
            "objects": parts.size(),
            "dice": parts["dice"].mean(),
            "found": parts["found"].mean(),
        }
    )


def leave_one_run_out(
    images: Sequence[str],
    classes: Sequence[str],
    stored: Callable[[str], StoredImage],
    way: Way,
    truth: MasksOf,
    runs: Sequence[str],
) -> dict[str, ScoreTable]:
    """The scores of all runs together, of each alone, and of all but each.

    Returns
    -------
    By "all", "RUN alone" and "without RUN". Of two runs, "without" one is the other alone.
    """
    choices: dict[str, tuple[str, ...] | None] = {"all": way.runs}
    if len(runs) > 1:
        for run in runs:
            choices[f"{run} alone"] = (run,)
            if len(runs) > 2:
                choices[f"without {run}"] = tuple(each for each in runs if each != run)
    found = {}
    for name, chosen in choices.items():
        other = replace(way, runs=chosen)

        def masks(image: str, way: Way = other) -> list[BitMask]:
            return stored(image).masks(way)

        found[name] = score_images(images, classes, masks, truth, lambda i: stored(i).held)
    return found


@compiled
def _count_bytes(values, shares, pixels, true):  # type: ignore[no-untyped-def]
    """Count the pixels of each byte, and add up how much of them is true."""
    for i in range(len(values)):
        pixels[values[i]] += 1
        true[values[i]] += shares[i]
