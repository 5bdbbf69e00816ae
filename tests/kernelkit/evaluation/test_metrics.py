"""Metrics of masks, beside scikit-learn, torchmetrics and the competitions' own formulas."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics
from torchmetrics.functional.classification import (
    binary_f1_score,
    binary_jaccard_index,
    multiclass_jaccard_index,
)

from kernelkit.errors import EvaluationError
from kernelkit.evaluation.metrics import Confusion, Counts, dice, dice_of, mean_precision
from kernelkit.mask import BitMask
from tests.made.masks import binary_images, shapes


@st.composite
def pairs(draw: st.DrawFn, count: int = 2) -> list[np.ndarray]:
    """Images of one shape."""
    shape = draw(shapes)
    return [draw(binary_images(st.just(shape))) for _ in range(count)]


def counts_of(*images: np.ndarray) -> Counts:
    return Counts.of(*(BitMask.from_array(image) for image in images))


def salt_score(found: np.ndarray, truth: np.ndarray) -> float:
    """The evaluation page's rule, of masks as single objects, written with floats."""
    if not truth.any():
        return float(not found.any())
    if not found.any():
        return 0.0
    iou = (found & truth).sum() / (found | truth).sum()
    return float(np.mean([iou > threshold + 1e-9 for threshold in np.arange(0.5, 0.96, 0.05)]))


@given(pairs())
def test_counts_are_those_of_sklearn(images: list[np.ndarray]) -> None:
    """The four counts are the confusion matrix of all pixels."""
    found, truth = images
    counts = counts_of(found, truth)
    matrix = sklearn_metrics.confusion_matrix(truth.ravel(), found.ravel(), labels=[0, 1])
    assert matrix.ravel().tolist() == [
        counts.true_negatives,
        counts.false_positives,
        counts.false_negatives,
        counts.true_positives,
    ]


@given(pairs())
def test_scores_are_those_of_sklearn(images: list[np.ndarray]) -> None:
    """They agree whenever the scores are defined, which they are if neither mask is empty."""
    found, truth = images
    counts = counts_of(found, truth)
    if not (found.any() and truth.any()):
        expected = float(found.any() == truth.any())
        assert {counts.dice, counts.iou, counts.precision, counts.recall} == {expected}
        return
    flat = truth.ravel(), found.ravel()
    assert counts.precision == pytest.approx(sklearn_metrics.precision_score(*flat))
    assert counts.recall == pytest.approx(sklearn_metrics.recall_score(*flat))
    assert counts.f1 == pytest.approx(sklearn_metrics.f1_score(*flat))
    assert counts.iou == pytest.approx(sklearn_metrics.jaccard_score(*flat))


@given(pairs())
def test_dice_is_that_of_torchmetrics(images: list[np.ndarray]) -> None:
    """Two empty masks have 1 here, so torchmetrics is asked to count them so."""
    found, truth = (torch.from_numpy(image) for image in images)
    counts = counts_of(*images)
    wanted = float(binary_f1_score(found, truth, zero_division=1))
    assert counts.dice == pytest.approx(wanted, abs=1e-6)
    if images[0].any() or images[1].any():
        assert counts.iou == pytest.approx(float(binary_jaccard_index(found, truth)), abs=1e-6)


@given(pairs())
def test_dice_is_that_of_masks(images: list[np.ndarray]) -> None:
    """The same number comes from the mask itself, from counts and from areas."""
    found, truth = (BitMask.from_array(image) for image in images)
    assert dice(found, truth) == found.dice(truth) == Counts.of(found, truth).dice
    assert Counts.of(found, truth).iou == found.iou(truth)
    both = np.array([(found & truth).area] * 2)
    assert dice_of(both, found.area, truth.area).tolist() == [dice(found, truth)] * 2


@given(pairs(4))
def test_counts_add_up_over_images(images: list[np.ndarray]) -> None:
    """The sum of two images' counts is the count of both images side by side."""
    both = sum([counts_of(*images[:2]), counts_of(*images[2:])])
    assert both == counts_of(np.vstack(images[::2]), np.vstack(images[1::2]))


@given(pairs(3))
def test_only_valid_pixels_count(images: list[np.ndarray]) -> None:
    """Within a mask, the counts are those of its pixels taken out of the image."""
    found, truth, valid = images
    chosen = valid.astype(bool)
    if chosen.any():
        wanted = counts_of(found[chosen][None], truth[chosen][None])
        assert counts_of(found, truth, valid) == wanted
    else:
        assert counts_of(found, truth, valid) == Counts()


def test_the_background_has_the_counts_turned_round() -> None:
    """What was missed of the class was wrongly found as background."""
    found, truth = np.array([[1, 1, 0, 0, 0]]), np.array([[1, 0, 1, 1, 0]])
    assert counts_of(found, truth).of_background == counts_of(1 - found, 1 - truth)


@given(pairs())
def test_the_salt_score_is_that_of_its_page(images: list[np.ndarray]) -> None:
    """It agrees with the rule written independently, empty masks among them."""
    found, truth = images
    assert mean_precision(counts_of(found, truth)) == pytest.approx(salt_score(found, truth))


@pytest.mark.parametrize(("common", "score"), [(10, 0.0), (11, 0.1), (19, 0.9), (20, 1.0)])
def test_an_iou_at_a_threshold_does_not_reach_it(common: int, score: float) -> None:
    """An IoU of exactly one half is not above one half."""
    assert mean_precision(Counts(common, 20 - common, 0)) == pytest.approx(score)


@st.composite
def label_images(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    classes = draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(shapes)
    found, truth = (rng.integers(0, rng.integers(1, classes + 2), shape) for _ in range(2))
    return found, truth, classes


def masks_of(labels: np.ndarray, classes: int) -> list[BitMask]:
    return [BitMask.from_array(labels == label) for label in range(1, classes + 1)]


@given(label_images())
def test_the_confusion_is_that_of_sklearn(drawn: tuple[np.ndarray, np.ndarray, int]) -> None:
    """Rows are the truth, columns what is found, and background is the first of both."""
    found, truth, classes = drawn
    confusion = Confusion.of(masks_of(found, classes), masks_of(truth, classes))
    labels = list(range(classes + 1))
    wanted = sklearn_metrics.confusion_matrix(truth.ravel(), found.ravel(), labels=labels)
    assert np.array_equal(confusion.pixels, wanted)


@given(label_images())
def test_the_mean_iou_is_that_of_torchmetrics(drawn: tuple[np.ndarray, np.ndarray, int]) -> None:
    """Classes that are nowhere are left out by both."""
    found, truth, classes = drawn
    confusion = Confusion.of(masks_of(found, classes), masks_of(truth, classes))
    wanted = multiclass_jaccard_index(
        torch.from_numpy(found), torch.from_numpy(truth), num_classes=classes + 1
    )
    assert confusion.mean_iou == pytest.approx(float(wanted), abs=1e-6)
    occurring = sorted(set(np.unique(truth)) | set(np.unique(found)))
    f1 = sklearn_metrics.f1_score(
        truth.ravel(), found.ravel(), labels=occurring, average="macro", zero_division=0
    )
    assert confusion.mean_f1 == pytest.approx(f1)


@given(label_images(), st.integers(0, 2**32 - 1))
def test_the_confusion_of_valid_pixels(
    drawn: tuple[np.ndarray, np.ndarray, int], seed: int
) -> None:
    """Pixels outside of the valid mask are in no cell."""
    found, truth, classes = drawn
    valid = np.random.default_rng(seed).random(truth.shape) < 0.5
    confusion = Confusion.of(
        masks_of(found, classes), masks_of(truth, classes), BitMask.from_array(valid)
    )
    wanted = np.zeros((classes + 1,) * 2, int)
    np.add.at(wanted, (truth[valid], found[valid]), 1)
    assert np.array_equal(confusion.pixels, wanted)


def test_confusions_add_up() -> None:
    """That of two images is the sum, so the mean IoU is one of the whole set."""
    found, truth = np.array([[0, 1, 1, 2]]), np.array([[0, 1, 2, 2]])
    each = [Confusion.of(masks_of(f, 2), masks_of(t, 2)) for f, t in ((found, truth),) * 2]
    assert np.array_equal(sum(each).pixels, 2 * each[0].pixels)
    assert sum(each).mean_iou == each[0].mean_iou == pytest.approx((1 + 0.5 + 0.5) / 3)


def test_the_counts_of_a_class_are_those_of_its_masks() -> None:
    """The confusion and the masks give the same counts."""
    rng = np.random.default_rng(0)
    found, truth = rng.integers(0, 3, (2, 20, 30))
    confusion = Confusion.of(masks_of(found, 2), masks_of(truth, 2))
    for label in range(3):
        assert confusion.counts(label) == counts_of(found == label, truth == label)


def test_masks_of_two_sizes_are_not_compared() -> None:
    """The sentence names both sizes."""
    with pytest.raises(EvaluationError, match="2 x 3 pixels and a true one of 4 x 3"):
        Counts.of(BitMask.zeros(2, 3), BitMask.zeros(4, 3))
    with pytest.raises(EvaluationError, match="found a valid mask of 2 x 3 pixels"):
        Counts.of(BitMask.zeros(4, 3), BitMask.zeros(4, 3), BitMask.zeros(2, 3))


def test_classes_that_overlap_have_no_confusion() -> None:
    """A pixel of two classes has no single cell."""
    one = BitMask.from_array([[1, 1]])
    with pytest.raises(EvaluationError, match=r"2 pixels of class 0 that are of class 1 too"):
        Confusion.of([one, one], [one, BitMask.zeros(1, 2)])
    with pytest.raises(EvaluationError, match="1 predicted masks and 2 true ones"):
        Confusion.of([one], [one, BitMask.zeros(1, 2)])
