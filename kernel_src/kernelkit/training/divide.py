"""Divide images into folds: by groups, and stratified by how much of them is labelled.

scikit-learn divides. What is added are the strata, and that no fold is empty.
"""

import warnings
from collections import defaultdict
from collections.abc import Hashable, Sequence

import numpy as np

from kernelkit.errors import TrainingError

__all__ = ["divide", "strata_of"]

# At most so many strata of images with the same classes.
_MOST_STRATA = 10


def divide(
    count: int,
    images: Sequence[str],
    groups: Sequence[str] | None,
    shares: Sequence[Sequence[float]] | None,
    seed: int,
) -> list[int]:
    """The fold of each image.

    Parameters
    ----------
    count
        How many folds.
    groups
        What each image belongs to. Images of one group get one fold. None divides by image.
    shares
        The share of each image that each class has. Folds get about the same. None does not
        stratify.
    seed
        Where the division begins.

    Raises
    ------
    TrainingError
        There are more folds than groups or images.
    """
    from sklearn import model_selection

    units = len(set(groups)) if groups is not None else len(images)
    if units < count:
        what = "groups" if groups is not None else "images"
        raise TrainingError(f"folds: found {units} {what} for {count} folds. Ask for fewer folds")
    options = {"n_splits": count, "shuffle": True, "random_state": seed}
    strata = None if shares is None else strata_of(shares, groups or images, count)
    if groups is not None and strata is not None:
        splitter = model_selection.StratifiedGroupKFold(**options)
    elif groups is not None:
        splitter = model_selection.GroupKFold(**options)
    elif strata is not None:
        splitter = model_selection.StratifiedKFold(**options)
    else:
        splitter = model_selection.KFold(**options)
    folds = np.zeros(len(images), int)
    with warnings.catch_warnings():
        # a stratum may have fewer images than there are folds
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        parts = splitter.split(np.zeros(len(images)), strata, groups)
        for number, (_, validating) in enumerate(parts):
            folds[validating] = number
    return folds.tolist()


def strata_of(
    shares: Sequence[Sequence[float]], units: Sequence[Hashable], count: int
) -> list[int]:
    """Which images are alike: those with the same classes, and about as much of them.

    Parameters
    ----------
    shares
        The share of each image that each class has.
    units
        What is divided: the images, or the group of each.
    count
        How many folds there are. A stratum has at least so many units, if it can.

    >>> strata_of([[0.0], [0.1], [0.2], [0.5], [0.6], [0.0]], "abcdef", 2)
    [0, 1, 1, 2, 2, 0]
    """
    classes = [tuple(share > 0 for share in each) for each in shares]
    members: dict[Hashable, list[int]] = defaultdict(list)
    for index, present in enumerate(classes):
        members[present].append(index)
    rare = [p for p, held in members.items() if len({units[i] for i in held}) < count]
    if len(rare) > 1:
        # what is too rare to be in each fold is one stratum
        members["rare"] = sorted(index for present in rare for index in members.pop(present))
    strata = [0] * len(shares)
    number = 0
    for held in members.values():
        parts = min(_MOST_STRATA, max(1, len({units[i] for i in held}) // count))
        ranked = sorted(held, key=lambda index: (sum(shares[index]), index))
        if not any(map(sum, (shares[i] for i in held))):
            parts = 1
        for part in np.array_split(ranked, parts):
            for index in part:
                strata[index] = number
            number += 1
    return strata
