"""The scores of images: counts per image and class, means of them, and how sure the means are."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kernelkit.competition.scenes import Scene
from kernelkit.evaluation.metrics import Counts
from kernelkit.evaluation.search.table import Areas, score_of
from kernelkit.labels import Labels
from kernelkit.mask import BitMask
from kernelkit.mask.resizing import resize
from kernelkit.slide import Slide
from kernelkit.vocabulary import Score

__all__ = ["Interval", "ScoreTable", "score_images", "truth_reader", "with_data"]

# How many times images are drawn for an interval.
_DRAWS = 1000
_SEED = 0
_INSIDE = 2.5, 97.5

# Gives the true masks of an image, or the predicted ones.
type MasksOf = Callable[[str], Sequence[BitMask]]
# Gives the pixels of an image that hold data. None means all.
type HeldOf = Callable[[str], BitMask | None]


@dataclass(frozen=True, slots=True)
class Interval:
    """A score, and where it lies in 95 of 100 draws of other images.

    Attributes
    ----------
    value, low, high
        The score of all images, and the ends of the interval.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} ({self.low:.4f} to {self.high:.4f})"


@dataclass(frozen=True, slots=True, eq=False)
class ScoreTable:
    """The counts of images and classes.

    Attributes
    ----------
    images, classes
        The names of the rows. A single class without a name is "".
    counts
        One `Counts` per image and class.
    """

    images: tuple[str, ...]
    classes: tuple[str, ...]
    counts: tuple[tuple[Counts, ...], ...]

    @property
    def areas(self) -> Areas:
        """The areas (images, classes)."""
        both, only_found, only_true = (
            np.array([[getattr(each, name) for each in row] for row in self.counts], np.int64)
            for name in ("true_positives", "false_positives", "false_negatives")
        )
        return Areas(both + only_found, both, both + only_true)

    def per_class(self, score: Score) -> dict[str, float]:
        """The score of each class over all images."""
        return dict(zip(self.classes, map(float, score_of(self.areas, score)), strict=True))

    def interval(self, score: Score) -> Interval:
        """The mean score of the classes, with an interval by drawing images again and again."""
        areas = self.areas
        count = len(self.images)
        rng = np.random.default_rng(_SEED)
        values = [
            np.mean(score_of(_some(areas, rng.integers(0, count, count)), score))
            for _ in range(_DRAWS)
        ]
        low, high = np.percentile(values, _INSIDE)
        return Interval(float(np.mean(score_of(areas, score))), float(low), float(high))

    def gain(self, other: "ScoreTable") -> Interval:
        """By how much the mean Dice of images is higher than that of another table.

        Both are drawn together, since a hard image is hard for both. So the interval is narrower
        than those of the scores.
        """
        both = [
            pd.Series(
                [float(np.mean([each.dice for each in row])) for row in table.counts], table.images
            )
            for table in (self, other)
        ]
        differences = (both[0] - both[1].reindex(both[0].index)).to_numpy()
        rng = np.random.default_rng(_SEED)
        count = len(differences)
        means = [differences[rng.integers(0, count, count)].mean() for _ in range(_DRAWS)]
        low, high = np.percentile(means, _INSIDE)
        return Interval(float(differences.mean()), float(low), float(high))

    def frame(self, **columns: Mapping[str, object]) -> pd.DataFrame:
        """The table, one row per image and class.

        Parameters
        ----------
        columns
            Further columns by image, such as its fold.
        """
        rows = []
        for image, row in zip(self.images, self.counts, strict=True):
            further = {name: column.get(image, "") for name, column in columns.items()}
            for name, counts in zip(self.classes, row, strict=True):
                both = counts.true_positives
                rows.append(
                    {
                        "image": image,
                        "class": name,
                        **further,
                        "found": both + counts.false_positives,
                        "true": both + counts.false_negatives,
                        "both": both,
                        "dice": counts.dice,
                        "iou": counts.iou,
                        "precision": counts.precision,
                        "recall": counts.recall,
                    }
                )
        return pd.DataFrame(rows)


def score_images(
    images: Sequence[str],
    classes: Sequence[str],
    found: MasksOf,
    truth: MasksOf,
    held: HeldOf | None = None,
) -> ScoreTable:
    """Score predicted masks at their full size, one image after the other.

    Parameters
    ----------
    held
        Gives the pixels that count, since they hold data. None counts all.

    Raises
    ------
    EvaluationError
        A mask has another size than its truth.
    """
    counts = []
    for image in images:
        within = None if held is None else held(image)
        pairs = zip(found(image), truth(image), strict=True)
        counts.append(tuple(Counts.of(*pair, within) for pair in pairs))
    return ScoreTable(tuple(images), tuple(classes), tuple(counts))


def truth_reader(labels: Labels, scenes: Mapping[str, Scene]) -> MasksOf:
    """The true masks of images, read when they are asked for."""

    def truth(image: str) -> list[BitMask]:
        scene = scenes[image]
        with (
            Slide(scene.paths, nodata=labels.competition.nodata) as slide,
            labels.of(image, slide) as label,
        ):
            return label.masks()

    return truth


def with_data(masks: MasksOf, held: HeldOf) -> MasksOf:
    """The masks of images without the pixels that hold no data."""

    def cut(image: str) -> list[BitMask]:
        within = held(image)
        if within is None:
            return list(masks(image))
        return [mask & resize(within, mask.shape) for mask in masks(image)]

    return cut


def _some(areas: Areas, rows: NDArray[np.int64]) -> Areas:
    return Areas(areas.found[rows], areas.both[rows], areas.truth[rows])
