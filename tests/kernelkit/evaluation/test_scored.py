"""Scores of images: their means and intervals, beside pandas, scipy and sklearn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats
from sklearn.calibration import calibration_curve

from kernelkit.evaluation.analysis import (
    calibrate,
    leave_one_run_out,
    score_by_object_size,
    score_objects,
)
from kernelkit.evaluation.metrics import Counts, dice
from kernelkit.evaluation.scored import ScoreTable, score_images, with_data
from kernelkit.mask import BitMask
from kernelkit.predict.hand_in.postprocess import STEPS
from kernelkit.predict.hand_in.stored_image import StoredImage
from kernelkit.predict.hand_in.variants import Way
from kernelkit.predict.store.store import Layers
from kernelkit.recipe import Recipe

RECIPE = Recipe.parse(
    "{name: test, competition: {slug: a-test-competition}, tiles: whole, ensembles: [{name: one}]}"
)
WAY = Way(RECIPE.ensembles[0], None, (0.5,), ())


def masks(seed: int, count: int = 2, side: int = 40) -> list[BitMask]:
    rng = np.random.default_rng(seed)
    return [
        BitMask.from_array(ndimage.gaussian_filter(rng.random((side, side)), 2) > 0.5)
        for _ in range(count)
    ]


FOUND = {str(number): masks(number) for number in range(8)}
TRUTH = {
    str(number): [a | b for a, b in zip(masks(number), masks(number + 50), strict=True)]
    for number in range(8)
}


@pytest.fixture(scope="module")
def table() -> ScoreTable:
    return score_images(list(FOUND), ("a", "b"), FOUND.__getitem__, TRUTH.__getitem__)


def test_the_frame_has_a_row_per_image_and_class(table: ScoreTable) -> None:
    """Its Dice is that of the masks, and further columns are by image."""
    frame = table.frame(fold=dict.fromkeys(FOUND, 3))
    assert len(frame) == 16
    assert set(frame["fold"]) == {3}
    for row in frame.itertuples():
        label = "ab".index(row[2])
        assert row.dice == dice(FOUND[row.image][label], TRUTH[row.image][label])
    means = frame.groupby("class")["dice"].mean().to_dict()
    assert table.per_class("dice") == pytest.approx(means)
    sums = frame.groupby("class")[["both", "found", "true"]].sum()
    wanted = 2 * sums["both"] / (sums["found"] + sums["true"])
    assert table.per_class("set") == pytest.approx(wanted.to_dict())


def test_pixels_without_data_do_not_count() -> None:
    """Neither as found, if a step of a recipe grows into them, nor as true."""
    full = [BitMask.from_array(np.ones((2, 4)))]
    found = [BitMask.from_array([[1, 1, 1, 0]] * 2)]
    held = BitMask.from_array([[1, 1, 0, 0]] * 2)
    table = score_images(["x"], ("",), lambda _: found, lambda _: full, lambda _: held)
    assert table.counts == ((Counts(4, 0, 0, 0),),)
    assert with_data(lambda _: full, lambda _: held)("x") == [held]
    assert with_data(lambda _: full, lambda _: None)("x") == full


def test_an_interval_is_scipys(table: ScoreTable) -> None:
    """The bootstrap over images agrees with scipy's, but for the draws."""
    each = table.frame().groupby("image")["dice"].mean().to_numpy()
    wanted = stats.bootstrap(
        (each,), np.mean, method="percentile", n_resamples=4000, rng=np.random.default_rng(1)
    ).confidence_interval
    found = table.interval("dice")
    assert found.value == pytest.approx(each.mean())
    width = wanted.high - wanted.low
    assert found.low == pytest.approx(wanted.low, abs=0.15 * width)
    assert found.high == pytest.approx(wanted.high, abs=0.15 * width)
    assert str(found) == f"{found.value:.4f} ({found.low:.4f} to {found.high:.4f})"


def test_a_gain_is_of_pairs(table: ScoreTable) -> None:
    """Images are drawn with both of their scores, so a gain that all share has no width."""
    worse = ScoreTable(
        table.images[::-1],
        table.classes,
        tuple(tuple(Counts(1, 1, 1) for _ in row) for row in table.counts),
    )
    gain = table.gain(worse)
    each = table.frame().groupby("image")["dice"].mean()
    assert gain.value == pytest.approx(each.mean() - 0.5)
    assert gain.low < gain.value < gain.high
    same = table.gain(table)
    assert same.low == same.value == same.high == 0


def test_one_image_has_no_width() -> None:
    """All draws are of the same image."""
    one = ScoreTable(("a",), ("",), ((Counts(3, 1, 1),),)).interval("dice")
    assert one.low == one.value == one.high == 0.75


def stored(values: np.ndarray, *names: str, missing: BitMask | None = None) -> StoredImage:
    layers = Layers(names or ("",), values[:, None], missing)
    return StoredImage(RECIPE, values.shape[1:], None, [layers], (), STEPS)


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_calibration_is_sklearns(seed: int, is_merged: bool) -> None:
    """The share of truth in each bin of probability agrees with scikit-learn's curve."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 256, (1, 30, 20)).astype(np.uint8)
    truth = rng.random((30, 20)) < values[0] / 400
    names = ("unet/fold_0",) if is_merged else ()
    found = calibrate(
        ["x"],
        lambda _: stored(values, *names),
        WAY,
        lambda _: [BitMask.from_array(truth)],
        (0,),
    )
    # sklearn's bins are of equal width too, and a tenth of a byte is in the middle of none
    probabilities = (values.ravel() + 0.1) / 256
    true, _ = calibration_curve(truth.ravel(), probabilities, n_bins=20)
    assert found.bins["true"].tolist() == pytest.approx(true.tolist())
    mean = np.average(found.bins["probability"], weights=found.bins["pixels"])
    assert mean == pytest.approx(values.mean() / 255)


def test_a_calibrated_map_has_no_error() -> None:
    """A map of which as many pixels are true as it says."""
    values = np.full((1, 10, 10), 51, np.uint8)  # one fifth
    truth = BitMask.from_array(np.arange(100).reshape(10, 10) < 20)
    found = calibrate(["x"], lambda _: stored(values), WAY, lambda _: [truth], (0,))
    assert found.error == pytest.approx(0)
    assert found.bins["pixels"].tolist() == [100]


def test_pixels_without_data_are_not_calibrated() -> None:
    """A network may say anything of them."""
    values = np.full((1, 10, 10), 51, np.uint8)
    values[:, :, 5:] = 255
    truth = BitMask.from_array(np.arange(100).reshape(10, 10) % 5 == 0)
    missing = BitMask.from_array(np.arange(100).reshape(10, 10) % 10 > 4)
    image = stored(values, missing=missing)
    found = calibrate(["x"], lambda _: image, WAY, lambda _: [truth], (0,))
    assert found.error == pytest.approx(0)
    assert found.bins["pixels"].tolist() == [50]


def test_objects_are_grouped_by_their_size() -> None:
    """Small objects that are missed lower the score of their group alone."""
    truth = np.zeros((60, 60), np.uint8)
    for number in range(5):
        truth[2:4, 10 * number : 10 * number + 2] = 1
        truth[20:28, 10 * number : 10 * number + 8] = 1
    found = truth.copy()
    found[2:4] = 0
    found[20:22] = 0
    by_size = score_by_object_size(
        ["x"], lambda _: [BitMask.from_array(found)], lambda _: [BitMask.from_array(truth)]
    )
    assert by_size["objects"].tolist() == [2] * 5
    assert by_size[["from", "to"]].to_numpy().tolist() == [
        [4, 4],
        [4, 4],
        [4, 64],
        [64, 64],
        [64, 64],
    ]
    part = 2 * 48 / (48 + 64)
    assert by_size["dice"].tolist() == pytest.approx([0, 0, part / 2, part, part])
    assert by_size["found"].tolist() == [0, 0, 0.5, 1, 1]


def test_objects_are_scored_by_class() -> None:
    """F1 is over all objects, and the Bowl's precision is a mean of images."""
    truth = [BitMask.from_array([[1, 1, 0, 1, 0, 0]]), BitMask.zeros(1, 6)]
    found = {
        "right": truth,
        "half": [BitMask.from_array([[1, 1, 0, 0, 0, 1]]), BitMask.zeros(1, 6)],
    }
    table = score_objects(list(found), ("a", ""), found.__getitem__, lambda _: truth)
    assert table["class"].tolist() == ["a", "target"]
    assert table[["true", "found"]].to_numpy().tolist() == [[4, 4], [0, 0]]
    assert table["F1 at IoU .5"].tolist() == [0.75, 1]
    assert table["precision at IoU .5 to .95"].tolist() == pytest.approx([(1 + 1 / 3) / 2, 1])


def test_without_true_objects_there_are_no_groups() -> None:
    """The table is empty, with its columns."""
    empty = [BitMask.zeros(3, 3)]
    by_size = score_by_object_size(["x"], lambda _: empty, lambda _: empty)
    assert by_size.empty
    assert list(by_size) == ["from", "to", "objects", "dice", "found"]


def test_each_run_is_left_out() -> None:
    """All together, each alone, and all but each, from one store."""
    values = np.stack([np.full((4, 4), byte, np.uint8) for byte in (40, 140, 250)])
    names = ("a/fold_0", "b/fold_0", "c/fold_0")
    truth = [BitMask.from_array(np.ones((4, 4)))]
    found = leave_one_run_out(
        ["x"], ("",), lambda _: stored(values, *names), WAY, lambda _: truth, ["a", "b", "c"]
    )
    dices = {name: table.per_class("dice")[""] for name, table in found.items()}
    assert dices == {
        "all": 1,
        "a alone": 0,
        "without a": 1,
        "b alone": 1,
        "without b": 1,
        "c alone": 1,
        "without c": 0,
    }
    two = leave_one_run_out(
        ["x"], ("",), lambda _: stored(values, *names), WAY, lambda _: truth, ["a", "b"]
    )
    assert list(two) == ["all", "a alone", "b alone"]
