"""The search over a store: what a run stored of images, beside their true masks."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from math import prod
from threading import Lock

from kernelkit.errors import EvaluationError
from kernelkit.evaluation.search.space import Space
from kernelkit.evaluation.search.table import Areas, SweepTable, sweep_image
from kernelkit.mask import BitMask
from kernelkit.predict.hand_in.stored_image import StoredImage
from kernelkit.predict.hand_in.variants import Way
from kernelkit.recipe import Recipe
from kernelkit.vocabulary import Connectivity, Keep

__all__ = ["Current", "Pair", "sweep_stored", "usual_shrink"]

# Images of more pixels are swept one after the other, since each takes much memory.
_LARGE = 1 << 24
_STEP = "remove_small"
# What stands for the likeliest of two classes.
_EVEN = 0.5

# A true mask per submitted class, of the submitted size.
type Truth = Sequence[BitMask]


@dataclass(frozen=True, slots=True)
class Pair:
    """An image: what is stored of it, and where its true masks come from.

    Attributes
    ----------
    image
        Its id.
    stored
        Gives what is stored.
    truth
        Gives the true masks. Their pixels that hold no data, as the store says, do not count.
    """

    image: str
    stored: Callable[[], StoredImage]
    truth: Callable[[], Truth]


@dataclass(frozen=True, slots=True)
class Current:
    """The thresholds and minimum sizes that a recipe has now, and what the search leaves alone.

    Attributes
    ----------
    thresholds, sizes
        One per class, or one for all.
    keep, connectivity
        Those of `remove_small`.
    notes
        What the search cannot see, a sentence each.
    """

    thresholds: tuple[float, ...]
    sizes: tuple[int, ...]
    keep: Keep
    connectivity: Connectivity
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, way: Way, labels: Sequence[int]) -> "Current":
        """What a way of a recipe has now.

        Parameters
        ----------
        labels
            The submitted classes.
        """
        notes = []
        thresholds = way.thresholds
        if thresholds is None:
            thresholds = (_EVEN,)
            notes.append(
                "the recipe has no threshold, so each pixel is of its likeliest class. 0.5 stands "
                "for that here"
            )
        elif len(thresholds) > 1:
            thresholds = tuple(thresholds[label] for label in labels)
        small = next((step for step in way.steps if step.step == _STEP), None)
        others = [step.step for step in way.steps if step is not small]
        if others:
            notes.append(
                f"the steps {', '.join(others)} are not part of the search. What it promises is "
                "without them"
            )
        arguments = {} if small is None else small.arguments
        return cls(
            thresholds,
            _sizes(arguments.get("min_area", 0), labels),
            arguments.get("keep", ">="),
            arguments.get("connectivity", 8),
            tuple(notes),
        )


def sweep_stored(
    pairs: Sequence[Pair],
    way: Callable[[str], Way],
    space: Space,
    labels: Sequence[int],
    classes: Sequence[str],
    shrink: int = 1,
) -> SweepTable:
    """Sweep images, small ones in threads.

    Parameters
    ----------
    way
        How masks are made of an image.
    labels, classes
        The submitted classes: their numbers and names.
    shrink
        How many stored pixels become one, on a side. More than 1 is faster and not exact.

    Raises
    ------
    EvaluationError
        There is no image, or one has other classes or sizes than its truth.
    SubmissionError
        Only masks are stored.
    """

    one_large = Lock()

    def swept(pair: Pair) -> tuple[str, Areas]:
        stored, truth = pair.stored(), pair.truth()
        _refuse_other_truth(pair.image, stored, truth, labels)
        planes = stored.planes(way(pair.image))
        _refuse_other_classes(pair.image, planes.shape[0], labels)
        is_large = prod(planes.shape[1:]) > _LARGE * shrink**2
        with one_large if is_large else nullcontext():
            areas = sweep_image(
                planes,
                truth,
                space,
                labels,
                scale=stored.scale,
                shrink=shrink,
                within=stored.held,
            )
        return pair.image, areas

    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        return SweepTable.of(space, classes, list(threads.map(swept, pairs)))


def _sizes(areas: object, labels: Sequence[int]) -> tuple[int, ...]:
    """The minimum sizes of the submitted classes, or one for all."""
    if isinstance(areas, list | tuple):
        return tuple(int(areas[label]) for label in labels)
    return (int(areas),)  # type: ignore[call-overload]


def _refuse_other_classes(image: str, classes: int, labels: Sequence[int]) -> None:
    if max(labels) >= classes:
        raise EvaluationError(
            f"{image}: found stored probabilities of {classes} class(es), wanted class number "
            f"{max(labels)} among them. Evaluate the store of the recipe that predicted"
        )


def _refuse_other_truth(
    image: str, stored: StoredImage, truth: Truth, labels: Sequence[int]
) -> None:
    """Refuse truth that is not of the submitted classes and size."""
    if len(truth) != len(labels):
        raise EvaluationError(
            f"{image}: found true masks of {len(truth)} class(es), wanted {len(labels)}, one per "
            "submitted class. Compare with labels of the same classes"
        )
    for mask in truth:
        if mask.shape != stored.size:
            raise EvaluationError(
                f"{image}: found true masks of {mask.height} x {mask.width} pixels, wanted "
                f"{stored.size[0]} x {stored.size[1]}, as they are submitted. Correct the labels' "
                "size"
            )


def usual_shrink(recipe: Recipe, ensemble: str) -> int:
    """How many stored pixels became one when networks saw them, on a side.

    Tiles that are enlarged before they are stored were smaller by their scale. The search is
    faster by its square, and loses little.
    """
    [chosen] = [each for each in recipe.ensembles if each.name == ensemble]
    if recipe.tiles.whole or recipe.plan_for(chosen).at == "network":
        return 1
    return recipe.tiles.scale
