"""How much of a gain survives: values are chosen on all folds but one, and scored on that one."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernelkit.errors import EvaluationError
from kernelkit.evaluation.search.sharing import Chosen, choose, mean_score
from kernelkit.evaluation.search.table import SweepTable
from kernelkit.vocabulary import Score, Sharing

__all__ = ["FoldGain", "Survival", "leave_one_fold_out"]


@dataclass(frozen=True, slots=True)
class FoldGain:
    """What the values that other folds chose are worth on one fold.

    Attributes
    ----------
    fold, images
        The fold, and how many images it has.
    before, after
        The score with the old values, and with those that the other folds chose.
    chosen
        The values.
    """

    fold: int
    images: int
    before: float
    after: float
    chosen: Chosen


@dataclass(frozen=True, slots=True)
class Survival:
    """The gain of a search, in sample and out of it.

    Attributes
    ----------
    before
        The score of all images with the old values.
    promised
        That with the values chosen on all images, which were chosen to make it large.
    kept
        That with the values that each image's fold had no part in.
    folds
        One per fold.
    """

    before: float
    promised: float
    kept: float
    folds: tuple[FoldGain, ...]

    @property
    def share(self) -> float | None:
        """How much of the gain survives, 1 being all. None if nothing was gained."""
        gain = self.promised - self.before
        return (self.kept - self.before) / gain if gain > 1e-9 else None

    @property
    def holds(self) -> bool:
        """Whether anything of the gain survives."""
        return self.share is not None and self.share > 0

    def __str__(self) -> str:
        if self.share is None:
            return f"nothing is gained: {self.before:.4f} before, {self.promised:.4f} after"
        survives = f"{self.share:.0%}" if self.share > 0 else "nothing"
        return (
            f"{self.before:.4f} before, {self.promised:.4f} chosen on all images, {self.kept:.4f} "
            f"chosen without each fold: {survives} of the gain survives"
        )


def leave_one_fold_out(
    table: SweepTable,
    fold_of: Mapping[str, int],
    before: NDArray[np.int64],
    sharing: Sharing = "common",
    score: Score = "dice",
    groups: Mapping[str, str] | None = None,
) -> Survival:
    """Choose values without each fold in turn, and score them on it.

    Parameters
    ----------
    fold_of
        The fold of each image.
    before
        The places of the old values, as `fixed_places` gives them.
    sharing, score, groups
        As for `choose`.

    Raises
    ------
    EvaluationError
        An image is in no fold, there is one fold alone, or a group is in one fold alone.
    """
    folds = np.array([_fold(image, fold_of) for image in table.images])
    numbers = np.unique(folds)
    if len(numbers) < 2:
        raise EvaluationError(
            f"found images of fold {numbers[0]} alone, wanted two folds or more, of which one can "
            "be left out. Predict the images of the others too"
        )
    places = np.empty_like(before)
    gains = []
    for number in numbers.tolist():
        is_held = folds == number
        held = _named(table, is_held)
        chosen = choose(_named(table, ~is_held), sharing, score, groups)
        _refuse_new_groups(held, chosen, groups, number)
        places[is_held] = chosen.places(held, groups)
        gains.append(
            FoldGain(
                number,
                len(held.images),
                mean_score(held, before[is_held], score),
                mean_score(held, places[is_held], score),
                chosen,
            )
        )
    promised = choose(table, sharing, score, groups).value
    return Survival(
        mean_score(table, before, score),
        promised,
        mean_score(table, places, score),
        tuple(gains),
    )


def _named(table: SweepTable, chosen: NDArray[np.bool_]) -> SweepTable:
    return table.only([image for image, is_in in zip(table.images, chosen, strict=True) if is_in])


def _fold(image: str, fold_of: Mapping[str, int]) -> int:
    fold = fold_of.get(image, -1)
    if fold < 0:
        raise EvaluationError(
            f"{image}: it is held out by no fold, so no score of it is honest. Leave it out, or "
            "give it a fold"
        )
    return fold


def _refuse_new_groups(
    held: SweepTable, chosen: Chosen, groups: Mapping[str, str] | None, fold: int
) -> None:
    if chosen.sharing != "group":
        return
    for image in held.images:
        group = (groups or {}).get(image, "")
        if group not in chosen.optima:
            raise EvaluationError(
                f"the group {group} is in fold {fold} alone, so no other fold can choose for it. "
                "Choose by class, or one value for all"
            )
