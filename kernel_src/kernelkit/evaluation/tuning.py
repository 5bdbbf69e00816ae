"""From out-of-fold predictions to thresholds and minimum sizes, and what they are worth."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd

from kernelkit.ensemble.layers import runs_of
from kernelkit.errors import EvaluationError
from kernelkit.evaluation.out_of_fold import OutOfFold
from kernelkit.evaluation.scored import MasksOf, score_images
from kernelkit.evaluation.search.rewriting import with_values
from kernelkit.evaluation.search.sharing import Chosen, choose, fixed_places, mean_score
from kernelkit.evaluation.search.space import Space
from kernelkit.evaluation.search.stored import Current, Pair, sweep_stored, usual_shrink
from kernelkit.evaluation.search.survival import Survival, leave_one_fold_out
from kernelkit.evaluation.search.table import SweepTable
from kernelkit.evaluation.search.total import total_table
from kernelkit.evaluation.search.weights import Weighed, weigh_runs
from kernelkit.mask import BitMask
from kernelkit.predict.hand_in.variants import Way, ways_of
from kernelkit.recipe import EnsembleRecipe
from kernelkit.vocabulary import Score, Sharing

__all__ = ["Asked", "Tuned", "tune", "usual_sizes"]

# The threshold of an output that is not submitted.
_UNUSED = 0.5
# Minimum sizes that are tried, as shares of the median true object.
_SHARES = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 1.0)


@dataclass(frozen=True)
class Asked:
    """What a search is asked for.

    Attributes
    ----------
    lowest, highest, step
        The thresholds.
    sizes
        The minimum sizes. None tries some that follow from the true objects.
    sharing, score
        As for `choose`.
    exclude
        Images that have no say.
    weigh
        Whether weights of runs are searched too.
    """

    lowest: float = 0.2
    highest: float = 0.9
    step: float = 0.01
    sizes: tuple[int, ...] | None = None
    sharing: Sharing = "common"
    score: Score = "dice"
    exclude: tuple[str, ...] = ()
    weigh: bool = False


@dataclass(frozen=True)
class Tuned:
    """What came of the search for one ensemble.

    Attributes
    ----------
    table
        The areas of all images, those that were excluded too.
    current
        What the recipe has now.
    chosen
        What was chosen.
    before
        The score of what the recipe has now.
    survival
        What the choice is worth out of fold. None if there is one fold alone.
    total
        The table total.csv.
    ensemble
        The ensemble with the new values. None if they differ by group, which no recipe can say.
    weighed
        The weights, if they were searched.
    submitted
        The scores of the masks that would be submitted before and after, at their full size and
        with all steps. None if the values differ by group.
    notes
        What the search cannot see, and what it says of itself, a sentence each.
    """

    table: SweepTable
    current: Current
    chosen: Chosen
    before: float
    survival: Survival | None
    total: pd.DataFrame
    ensemble: EnsembleRecipe | None
    weighed: Weighed | None
    submitted: tuple[float, float] | None
    notes: tuple[str, ...]

    @property
    def to_write(self) -> EnsembleRecipe | None:
        """The ensemble with the new values, unless nothing of their gain survives out of fold.

        Of one fold alone it is not known, and a note says so.
        """
        return self.ensemble if self.survival is None or self.survival.holds else None


def tune(found: OutOfFold, truth: MasksOf, ensemble: str, asked: Asked) -> Tuned:
    """Search thresholds, minimum sizes and perhaps weights for the images of an ensemble.

    Parameters
    ----------
    found
        The predictions.
    truth
        Gives the true masks of an image.
    ensemble
        Its name.

    Raises
    ------
    EvaluationError
        There is no image, or what is asked for cannot be searched.
    """
    _refuse_unknown(asked.exclude, found)
    way = ways_of(found.recipe.model_copy(update={"submissions": {}}))[""][ensemble]
    convention = found.recipe.competition
    labels, classes = convention.labels, convention.classes or ("",)
    pairs = _pairs(found, truth, ensemble)
    current = Current.of(way, labels)
    space = Space.between(
        asked.lowest,
        asked.highest,
        asked.step,
        usual_sizes(pairs) if asked.sizes is None else asked.sizes,
        current.keep,
        current.connectivity,
    ).including(current.thresholds, current.sizes)
    groups = {image: scene.group for image, scene in found.scenes.items()}
    shrink = usual_shrink(found.recipe, ensemble)

    def swept(changed: EnsembleRecipe) -> SweepTable:
        other = replace(way, ensemble=changed)
        return sweep_stored(pairs, lambda _: other, space, labels, classes, shrink)

    def score(changed: EnsembleRecipe) -> float:
        return choose(_voting(swept(changed), asked), asked.sharing, asked.score, groups).value

    weighed = weigh_runs(way.ensemble, _runs(pairs, way), score) if asked.weigh else None
    best = way.ensemble if weighed is None else weighed.ensemble
    table = swept(best)
    voting = _voting(table, asked)
    chosen = choose(voting, asked.sharing, asked.score, groups)
    before = fixed_places(voting, current.thresholds, current.sizes)
    survival = None
    if len({found.folds[image] for image in voting.images}) > 1:
        survival = leave_one_fold_out(
            voting, found.folds, before, asked.sharing, asked.score, groups
        )
    outputs = pairs[0].stored().planes(way).shape[0]
    new = _with_chosen(best, chosen, labels, classes, outputs)
    return Tuned(
        table,
        current,
        chosen,
        mean_score(voting, before, asked.score),
        survival,
        total_table(table, chosen.places(table, groups), asked.score),
        new,
        weighed,
        None if new is None else _submitted(pairs, voting, way, new, asked.score),
        (*current.notes, *_notes(chosen, survival, shrink, weighed)),
    )


def usual_sizes(pairs: Sequence[Pair]) -> tuple[int, ...]:
    """Minimum sizes to be tried: none, and shares of the median true object."""
    areas = [mask.components().areas for pair in pairs for mask in pair.truth()]
    objects = np.concatenate([np.empty(0, np.int64), *areas])
    if not len(objects):
        return (0,)
    median = float(np.median(objects))
    return tuple(sorted({0, *(round(share * median) for share in _SHARES)}))


def _pairs(found: OutOfFold, truth: MasksOf, ensemble: str) -> list[Pair]:
    images = [
        image.image
        for image in found.report.images
        if image.ensemble == ensemble and not image.is_fallback
    ]
    if not images:
        raise EvaluationError(
            f"{ensemble}: found no image that it predicts, wanted one or more. Name another "
            "ensemble"
        )
    return [
        Pair(image, partial(found.masks.stored, image), partial(truth, image)) for image in images
    ]


def _voting(table: SweepTable, asked: Asked) -> SweepTable:
    """The table without the images that have no say."""
    return table.without([image for image in asked.exclude if image in table.images])


def _refuse_unknown(images: Sequence[str], found: OutOfFold) -> None:
    known = {image.image for image in found.report.images}
    for image in images:
        if image not in known:
            raise EvaluationError(
                f"found {image!r:.60} among the images to exclude, but no prediction of it. "
                "Correct the id"
            )


def _runs(pairs: Sequence[Pair], way: Way) -> list[str]:
    """The runs that are merged, without those of the gate."""
    return list(dict.fromkeys(runs_of(way.ensemble, pairs[0].stored().names)))


def _with_chosen(
    ensemble: EnsembleRecipe,
    chosen: Chosen,
    labels: Sequence[int],
    classes: Sequence[str],
    outputs: int,
) -> EnsembleRecipe | None:
    """The ensemble with what was chosen. A recipe has a value per output, or one for all."""
    if chosen.sharing == "group":
        return None
    if chosen.sharing == "common" or outputs == 1:
        [optimum] = chosen.optima.values()
        return with_values(ensemble, [optimum.threshold], [optimum.size], chosen.keep)
    thresholds, sizes = [_UNUSED] * outputs, [0] * outputs
    for label, name in zip(labels, classes, strict=True):
        thresholds[label] = chosen.optima[name].threshold
        sizes[label] = chosen.optima[name].size
    return with_values(ensemble, thresholds, sizes, chosen.keep)


def _submitted(
    pairs: Sequence[Pair], voting: SweepTable, way: Way, new: EnsembleRecipe, score: Score
) -> tuple[float, float]:
    """The scores of masks as a run makes them, by the old values and by the new ones."""
    by_image = {pair.image: pair for pair in pairs}
    after = replace(way, ensemble=new, thresholds=new.thresholds, steps=new.postprocess)
    found = []
    for each in (way, after):

        def masks(image: str, way: Way = each) -> list[BitMask]:
            return by_image[image].stored().masks(way)

        table = score_images(
            voting.images,
            voting.classes,
            masks,
            lambda image: by_image[image].truth(),
            lambda image: by_image[image].stored().held,
        )
        found.append(float(np.mean(list(table.per_class(score).values()))))
    return found[0], found[1]


def _notes(
    chosen: Chosen, survival: Survival | None, shrink: int, weighed: Weighed | None
) -> list[str]:
    notes = []
    for name, optimum in chosen.optima.items():
        if optimum.at_edge:
            notes.append(
                f"{f'{name}: ' if name else ''}the best place is at the edge of what was tried. "
                "Try more thresholds or sizes"
            )
    if survival is None:
        notes.append("all images are of one fold, so it is not known what of the gain survives")
    elif survival.share is not None and not survival.holds:
        notes.append("the gain does not hold out of fold. The old values are as good")
    if shrink > 1:
        notes.append(
            f"probabilities were searched {shrink} times smaller, as networks saw them. The score "
            "at full size differs a little"
        )
    if weighed is not None and weighed.after > weighed.before:
        notes.append(
            "weights were chosen on all images, and the scores of folds have them. What survives "
            "of their gain is not known"
        )
    return notes
