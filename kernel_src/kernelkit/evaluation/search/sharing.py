"""For whom thresholds and sizes are chosen: for all at once, for each class, or for each group."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kernelkit.errors import EvaluationError
from kernelkit.evaluation.search.optimum import Optimum, find_optimum
from kernelkit.evaluation.search.table import SweepTable, score_of
from kernelkit.vocabulary import Keep, Score, Sharing

__all__ = ["Chosen", "choose", "fixed_places", "mean_score"]


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """What a search chose.

    Attributes
    ----------
    sharing, score
        For whom, and what was made large.
    optima
        By class or by group. With "common" there is one, named "".
    surfaces
        The scores (thresholds, sizes) behind each.
    value
        The score of the whole table: the mean over its classes.
    keep
        Whether components of the very minimum size stay, as the space says.
    """

    sharing: Sharing
    score: Score
    optima: Mapping[str, Optimum]
    surfaces: Mapping[str, NDArray[np.float64]]
    value: float
    keep: Keep

    def places(
        self, table: SweepTable, groups: Mapping[str, str] | None = None
    ) -> NDArray[np.int64]:
        """The place per image and class, int64 (images, classes, 2), in any table of the space.

        Parameters
        ----------
        groups
            The group of each image, if they were chosen by group.
        """
        out = np.empty((*table.truth.shape, 2), np.int64)
        for row, image in enumerate(table.images):
            for label, name in enumerate(table.classes):
                out[row, label] = self._optimum(image, name, groups).place
        return out

    def _optimum(self, image: str, name: str, groups: Mapping[str, str] | None) -> Optimum:
        match self.sharing:
            case "common":
                return self.optima[""]
            case "class":
                return self.optima[name]
        return self.optima[_group(image, groups)]


def choose(
    table: SweepTable,
    sharing: Sharing = "common",
    score: Score = "dice",
    groups: Mapping[str, str] | None = None,
) -> Chosen:
    """Choose thresholds and minimum sizes.

    Parameters
    ----------
    sharing
        "common" chooses one pair for all classes, "class" one per class. "group" chooses one per
        group of images, such as an organ.
    score
        What is made large.
    groups
        The group of each image.

    Raises
    ------
    EvaluationError
        Groups are asked for, and an image has none.
    """
    surfaces: dict[str, NDArray[np.float64]] = {}
    if sharing == "class":
        surfaces = {name: table.surface(i, score) for i, name in enumerate(table.classes)}
    elif sharing == "common":
        surfaces[""] = _mean_surface(table, score)
    else:
        members: dict[str, list[str]] = {}
        for image in table.images:
            members.setdefault(_group(image, groups), []).append(image)
        for name, images in sorted(members.items()):
            surfaces[name] = _mean_surface(table.only(images), score)
    optima = {name: find_optimum(surface, table.space) for name, surface in surfaces.items()}
    chosen = Chosen(sharing, score, optima, surfaces, 0.0, table.space.keep)
    value = mean_score(table, chosen.places(table, groups), score)
    return replace(chosen, value=value)


def fixed_places(
    table: SweepTable, thresholds: tuple[float, ...], sizes: tuple[int, ...]
) -> NDArray[np.int64]:
    """The places of given values, one per class or one for all. They must be in the space."""
    out = np.empty((*table.truth.shape, 2), np.int64)
    for label in range(len(table.classes)):
        threshold = thresholds[label if len(thresholds) > 1 else 0]
        size = sizes[label if len(sizes) > 1 else 0]
        out[:, label] = table.space.place(threshold, size)
    return out


def mean_score(table: SweepTable, places: NDArray[np.int64], score: Score) -> float:
    """The score at a place per image and class, as the mean over the classes."""
    return float(np.mean(score_of(table.at(places), score)))


def _mean_surface(table: SweepTable, score: Score) -> NDArray[np.float64]:
    surfaces = [table.surface(label, score) for label in range(len(table.classes))]
    return np.asarray(np.mean(surfaces, axis=0))


def _group(image: str, groups: Mapping[str, str] | None) -> str:
    group = (groups or {}).get(image, "")
    if not group:
        raise EvaluationError(
            f"{image}: it has no group, by which thresholds were to be chosen. Write {{group}} in "
            "the recipe's images, give a table of groups, or choose by class"
        )
    return group
