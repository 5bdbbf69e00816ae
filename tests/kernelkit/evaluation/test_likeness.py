"""How well test is told from training: by sets that are known to be alike, or not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from kernelkit.evaluation.shift.likeness import measure_likeness

COUNT = 60


def features(shift: float, seed: int = 0, count: int = COUNT) -> tuple[np.ndarray, np.ndarray]:
    """Features of two sets whose means are `shift` deviations apart."""
    rng = np.random.default_rng(seed)
    is_test = np.arange(2 * count) >= count
    return rng.normal(size=(2 * count, 10)) + shift * is_test[:, None], is_test


def test_sets_of_one_distribution_cannot_be_told_apart() -> None:
    """The mean of several draws is near one half, and most intervals hold one half."""
    found = [measure_likeness(*features(0, seed)).auc for seed in range(8)]
    assert np.mean([each.value for each in found]) == pytest.approx(0.5, abs=0.07)
    assert sum(each.low <= 0.5 <= each.high for each in found) >= 6


def test_sets_that_differ_are_told_apart() -> None:
    """The larger the difference, the larger the AUC."""
    values = [measure_likeness(*features(shift)).auc.value for shift in (0, 0.3, 1, 5)]
    assert values == sorted(values)
    assert values[-1] > 0.99


@settings(max_examples=5)
@given(shift=st.floats(0, 2), seed=st.integers(0, 100))
def test_the_auc_is_that_of_the_rank_test(shift: float, seed: int) -> None:
    """scipy counts the pairs that are in order. The interval holds the value."""
    matrix, is_test = features(shift, seed, 12)
    matrix[5:8] = matrix[20]  # they may tie
    found = measure_likeness(matrix, is_test)
    pairs = mannwhitneyu(found.values[is_test], found.values[~is_test]).statistic
    assert found.auc.value == pytest.approx(pairs / 12**2)
    assert found.auc.low <= found.auc.value <= found.auc.high


def test_what_groups_have_in_common_is_no_difference_of_the_sets() -> None:
    """Each city has its colour. By image that looks like a shift, and by city it does not."""
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(24), 6)
    colours = rng.normal(size=(24, 10))
    matrix = colours[groups] + rng.normal(scale=0.05, size=(len(groups), 10))
    is_test = groups >= 12
    names = [str(group) for group in groups]
    by_image, by_group = (measure_likeness(matrix, is_test, each) for each in (None, names))
    assert by_group.by_group
    assert not by_image.by_group
    assert by_image.auc.value > 0.8
    assert by_group.auc.low < 0.5
    assert by_group.auc.high - by_group.auc.low > by_image.auc.high - by_image.auc.low


def test_one_group_of_test_images_is_divided_by_image() -> None:
    """It cannot be held out, since no test image would be left to learn from."""
    matrix, is_test = features(0)
    names = ["test" if test else f"city {row % 4}" for row, test in enumerate(is_test)]
    assert not measure_likeness(matrix, is_test, names).by_group


def test_five_images_are_enough_for_an_answer() -> None:
    """Folds are as many as the smaller set has images, at most. The answer does not change."""
    matrix, is_test = features(5)
    few = np.r_[0:20, COUNT : COUNT + 3]
    first, second = (measure_likeness(matrix[few], is_test[few]) for _ in range(2))
    assert first.folds == 3
    assert first.auc == second.auc
    assert first.auc.value > 0.9
