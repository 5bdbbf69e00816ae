"""Objects matched by overlap, beside pycocotools, scipy and the Data Science Bowl's formula."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco
from scipy import ndimage

from kernelkit.errors import EvaluationError
from kernelkit.evaluation.metrics import Counts
from kernelkit.evaluation.objects import overlaps_of
from kernelkit.mask import BitMask
from kernelkit.vocabulary import Connectivity
from tests.made.masks import binary_images, shapes

connectivities = st.sampled_from([4, 8])


def parts_of(image: np.ndarray, connectivity: int, most: int = 6) -> list[np.ndarray]:
    """The first components, as images. A mask of noise has too many to hold."""
    labels, count = ndimage.label(image, np.ones((3, 3)) if connectivity == 8 else None)
    return [(labels == number).astype(np.uint8) for number in range(1, min(count, most) + 1)]


def cocos_iou(found: list[np.ndarray], truth: list[np.ndarray]) -> np.ndarray:
    encoded = [[coco.encode(np.asfortranarray(part)) for part in parts] for parts in (found, truth)]
    return np.array(coco.iou(*encoded, [False] * len(truth))).reshape(len(found), len(truth))


def bowl_score(iou: np.ndarray) -> float:
    """The Bowl's evaluation page, written as loops over a matrix of IoU."""
    scores = []
    for threshold in np.arange(0.5, 0.96, 0.05):
        hits = iou > threshold + 1e-9
        true_positives = sum(row.any() for row in hits)
        false_positives = sum(not row.any() for row in hits)
        false_negatives = sum(not column.any() for column in hits.T)
        scores.append(true_positives / (true_positives + false_positives + false_negatives))
    return float(np.mean(scores))


@st.composite
def pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """A mask and one that is like it, so that many objects match."""
    shape = draw(shapes)
    truth = draw(binary_images(st.just(shape)))
    noise = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).random(shape)
    return truth ^ (noise < draw(st.sampled_from([0, 0.02, 0.3]))), truth


@given(pairs(), connectivities)
def test_overlaps_are_those_of_coco(
    images: tuple[np.ndarray, np.ndarray], connectivity: Connectivity
) -> None:
    """The IoU of each pair of components is that of pycocotools."""
    found, truth = (parts_of(image, connectivity) for image in images)
    masks = [BitMask.from_array(sum(parts, np.zeros_like(images[0]))) for parts in (found, truth)]
    overlaps = overlaps_of(*masks, connectivity)
    iou = np.zeros((len(found), len(truth)))
    for i, j, both in overlaps.pairs:
        either = overlaps.found_areas[i] + overlaps.true_areas[j] - both
        iou[i, j] = both / either
    assert iou == pytest.approx(cocos_iou(found, truth) if iou.size else iou)


@given(pairs(), connectivities)
def test_the_score_is_that_of_the_bowl(
    images: tuple[np.ndarray, np.ndarray], connectivity: Connectivity
) -> None:
    """The mean precision of objects agrees with the rule written over pycocotools' IoU."""
    found, truth = (parts_of(image, connectivity) for image in images)
    masks = [BitMask.from_array(sum(parts, np.zeros_like(images[0]))) for parts in (found, truth)]
    score = overlaps_of(*masks, connectivity).precision
    if found and truth:
        assert score == pytest.approx(bowl_score(cocos_iou(found, truth)))
    else:
        assert score == float(bool(found) == bool(truth))


def test_objects_are_found_missed_and_invented() -> None:
    """One object matches, one is invented, one is missed, so F1 is one half."""
    found = BitMask.from_array([[1, 1, 1, 0, 0, 0, 1, 0]])
    truth = BitMask.from_array([[1, 1, 0, 0, 1, 1, 0, 0]])
    counts = overlaps_of(found, truth).counts()
    assert counts == Counts(1, 1, 1)
    assert counts.f1 == 0.5


def test_half_is_no_match() -> None:
    """An IoU of exactly one half is not above it."""
    found, truth = BitMask.from_array([[1, 1]]), BitMask.from_array([[1, 0]])
    assert overlaps_of(found, truth).counts() == Counts(0, 1, 1)


@given(shapes)
def test_nothing_in_nothing_is_right(shape: tuple[int, int]) -> None:
    """Two empty masks have no objects, and a perfect score."""
    empty = BitMask.zeros(*shape)
    nothing = overlaps_of(empty, empty)
    assert nothing.counts() == Counts()
    assert nothing.precision == nothing.counts().f1 == 1


def test_bands_of_rows_change_no_overlap() -> None:
    """Components that cross the border of a band are whole."""
    truth = np.zeros((5000, 70), np.uint8)
    truth[1000:4500, 5:20] = truth[2047:2049, 30:60] = 1
    found = np.roll(truth, 1, axis=1)
    overlaps = overlaps_of(BitMask.from_array(found), BitMask.from_array(truth))
    assert overlaps.pairs.tolist() == [[0, 0, 3500 * 14], [1, 1, 2 * 29]]


def test_a_least_iou_below_half_is_refused() -> None:
    """Matches would not be unique."""
    with pytest.raises(EvaluationError, match="0.4 as the least IoU of a match, wanted 0.5 to 1"):
        overlaps_of(BitMask.zeros(2, 2), BitMask.zeros(2, 2)).counts(0.4)
    with pytest.raises(EvaluationError, match="wanted one size"):
        overlaps_of(BitMask.zeros(2, 2), BitMask.zeros(2, 3))
