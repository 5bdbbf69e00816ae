"""How well test images can be told from training images: logistic regression, out of fold.

Each image is judged by a classifier that was not fitted to it, so none is known by heart. If the
area under the curve (AUC) is one half, no difference is seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from kernelkit.evaluation.scored import Interval

__all__ = ["Likeness", "measure_likeness"]

_FOLDS = 5
# Images are divided so many times, since a single division has luck in it.
_DIVISIONS = 5
# Features are brought to so few numbers, and to fewer than a fourth of the images.
_COMPONENTS = 32
# The strength of the penalty of weights. Few images need much of it.
_C = 0.1
_DRAWS = 1000
_SEED = 0
_INSIDE = 2.5, 97.5

type _Split = tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True, eq=False)
class Likeness:
    """How test-like each image is.

    Attributes
    ----------
    values
        float64 (images,): the mean out-of-fold probability of being a test image, if there were as
        many of both.
    auc
        The share of pairs of a test and a training image that are told apart. In the interval lie
        95 of 100 draws of such images, or of such groups.
    folds
        Into how many folds images were divided.
    by_group
        Whether images of one group were kept together.
    """

    values: NDArray[np.float64]
    auc: Interval
    folds: int
    by_group: bool


def measure_likeness(
    features: NDArray[np.float64], is_test: NDArray[np.bool_], groups: Sequence[str] | None = None
) -> Likeness:
    """Tell test images from training images by their features.

    Parameters
    ----------
    features
        float64 (images, features).
    is_test
        bool (images,). Two images at least are of each kind.
    groups
        What each image belongs to. Images of one group are held out together, if both kinds have
        two groups or more. None divides by image.
    """
    splits = None if groups is None else _splits_by_group(is_test, groups)
    by_group = splits is not None
    if splits is None:
        splits = _splits_by_image(is_test)
    smallest = min(len(training) for training, _ in splits)
    components = max(1, min(_COMPONENTS, features.shape[1], smallest // 4))
    sums, times = np.zeros(len(features)), np.zeros(len(features))
    for training, held_out in splits:
        model = make_pipeline(
            StandardScaler(),
            PCA(components, random_state=_SEED),
            LogisticRegression(C=_C, class_weight="balanced", max_iter=1000),
        )
        model.fit(features[training], is_test[training])
        sums[held_out] += model.predict_proba(features[held_out])[:, 1]
        times[held_out] += 1
    values = sums / times
    interval = _interval(values, is_test, groups if by_group else None)
    return Likeness(values, interval, len(splits) // _DIVISIONS, by_group)


def _splits_by_image(is_test: NDArray[np.bool_]) -> list[_Split]:
    """The images that train and those that are held out, of each fold of each division."""
    count = min(_FOLDS, int(is_test.sum()), int((~is_test).sum()))
    return [
        split
        for seed in range(_DIVISIONS)
        for split in StratifiedKFold(count, shuffle=True, random_state=seed).split(is_test, is_test)
    ]


def _splits_by_group(is_test: NDArray[np.bool_], groups: Sequence[str]) -> list[_Split] | None:
    """The same, with each group in one fold. None if some folds would train on one kind alone."""
    names = np.array(groups)
    most = min(_FOLDS, *(len(set(names[kind])) for kind in (is_test, ~is_test)))
    for count in range(most, 1, -1):
        splits = [
            split
            for seed in range(_DIVISIONS)
            for split in StratifiedGroupKFold(count, shuffle=True, random_state=seed).split(
                is_test, is_test, names
            )
        ]
        if all(0 < is_test[training].sum() < len(training) for training, _ in splits):
            return splits
    return None


def _interval(
    values: NDArray[np.float64], is_test: NDArray[np.bool_], groups: Sequence[str] | None
) -> Interval:
    """The AUC, with an interval by drawing images or groups of each kind again and again."""
    names = np.arange(len(values)) if groups is None else np.unique(groups, return_inverse=True)[1]
    rng = np.random.default_rng(_SEED)
    # the groups of each kind, from 0 on, and the group of each image of it
    kinds = [np.unique(names[kind], return_inverse=True) for kind in (is_test, ~is_test)]
    drawn = []
    for _ in range(_DRAWS):
        times = np.empty(len(values), np.int64)
        for kind, (own, place) in zip((is_test, ~is_test), kinds, strict=True):
            picked = rng.integers(0, len(own), len(own))
            times[kind] = np.bincount(picked, minlength=len(own))[place]
        drawn.append(_area(values, is_test, times))
    low, high = np.percentile(drawn, _INSIDE)
    value = _area(values, is_test, np.ones(len(values), np.int64))
    return Interval(value, float(low), float(high))


def _area(
    values: NDArray[np.float64], is_test: NDArray[np.bool_], times: NDArray[np.int64]
) -> float:
    """The AUC of images that count so many times: pairs in order, and half of those that tie.

    scikit-learn's function gives the same, and takes a hundred times as long for a thousand draws.
    """
    place = np.unique(values, return_inverse=True)[1]
    test, other = (np.bincount(place, np.where(kind, times, 0)) for kind in (is_test, ~is_test))
    below = np.cumsum(other) - other
    return float((test * (below + other / 2)).sum() / (test.sum() * other.sum()))
