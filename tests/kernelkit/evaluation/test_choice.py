"""What a search chooses: flat tops before peaks, for all, per class and per group, out of fold."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import uniform_filter1d

from kernelkit.errors import EvaluationError
from kernelkit.evaluation.search.optimum import find_optimum, smoothed
from kernelkit.evaluation.search.sharing import choose, fixed_places, mean_score
from kernelkit.evaluation.search.space import Space
from kernelkit.evaluation.search.survival import leave_one_fold_out
from kernelkit.evaluation.search.table import SweepTable, score_of, sweep_image
from kernelkit.evaluation.search.total import total_table, write_total
from kernelkit.mask import BitMask
from kernelkit.vocabulary import Score

SPACE = Space.between(0.1, 0.9, 0.05, sizes=(0, 5, 10, 20, 40))


def blob(image: np.ndarray, row: int, col: int, side: int, value: int) -> None:
    """A square of one value with a rim that fades, as networks draw objects."""
    image[row - 1 : row + side + 1, col - 1 : col + side + 1] = 30
    image[row : row + side, col : col + side] = value


def made_table(
    images: int = 6, classes: int = 1, limits: tuple[float, ...] = (0.6,), side: int = 3
) -> SweepTable:
    """Images with large true objects above a limit, larger false ones below it, and small dirt.

    True objects have 64 pixels and values just above the class's limit. False ones are just below.
    Dirt of `side` x `side` pixels is as bright as the truth. So the best threshold is just below
    the limit, and the best size is above that of the dirt.
    """
    rng = np.random.default_rng(0)
    swept = []
    for number in range(images):
        values = np.zeros((classes, 60, 60), np.uint8)
        truths = []
        for label in range(classes):
            limit = limits[label % len(limits)]
            blob(values[label], 5, 5 + number % 3, 8, int(255 * limit + 20))
            truth = values[label] > 255 * limit
            blob(values[label], 25, 30, 10, int(255 * limit - 20))
            for _ in range(3):
                blob(values[label], rng.integers(45, 55), rng.integers(5, 50), side, 254)
            truths.append(BitMask.from_array(truth))
        areas = sweep_image(values, truths, SPACE, list(range(classes)))
        swept.append((f"image{number}", areas))
    return SweepTable.of(SPACE, [f"class{label}" for label in range(classes)], swept)


def test_the_known_optimum_is_found() -> None:
    """The threshold parts true objects from false ones, and the size removes dirt."""
    chosen = choose(made_table())
    optimum = chosen.optima[""]
    assert 0.52 <= optimum.threshold <= 0.68
    assert 9 < optimum.size <= 40
    assert optimum.score == chosen.value == 1
    assert optimum.thresholds[0] >= 0.5
    assert optimum.thresholds[1] <= 0.7
    assert optimum.sizes == (10, 40)


@pytest.mark.parametrize("score", ["dice", "iou", "precision", "set"])
def test_every_score_finds_the_known_optimum(score: Score) -> None:
    """All scores are 1 there, and nowhere else."""
    optimum = choose(made_table(), score=score).optima[""]
    assert 0.52 <= optimum.threshold <= 0.68
    assert optimum.score == 1


def test_each_class_has_its_own_optimum() -> None:
    """One value for all cannot be right for two limits, and one per class is."""
    table = made_table(classes=2, limits=(0.35, 0.75))
    common, each = choose(table), choose(table, "class")
    assert common.value < 0.95
    assert each.value == 1
    assert 0.27 <= each.optima["class0"].threshold <= 0.43
    assert 0.67 <= each.optima["class1"].threshold <= 0.83


def test_each_group_has_its_own_optimum() -> None:
    """Images of two organs are chosen for apart, and scored together."""
    low, high = made_table(limits=(0.35,)), made_table(limits=(0.75,))
    both = SweepTable(
        SPACE,
        (*low.images, *(f"other{name}" for name in high.images)),
        low.classes,
        np.concatenate([low.found, high.found]),
        np.concatenate([low.both, high.both]),
        np.concatenate([low.truth, high.truth]),
    )
    groups = {name: "lung" if name.startswith("other") else "kidney" for name in both.images}
    chosen = choose(both, "group", groups=groups)
    assert list(chosen.optima) == ["kidney", "lung"]
    assert chosen.value == 1
    assert chosen.optima["kidney"].threshold < 0.45 < 0.65 < chosen.optima["lung"].threshold
    with pytest.raises(EvaluationError, match="image0: it has no group"):
        choose(both, "group", groups={})


def test_a_flat_top_is_better_than_a_peak() -> None:
    """A single high point is passed over, and the report says how flat the top is."""
    surface = np.full((17, 1), 0.5)
    surface[3] = 0.9
    surface[9:14] = 0.8
    optimum = find_optimum(surface, Space.between(0.5, 0.66, 0.01))
    assert optimum.threshold == 0.61
    assert (optimum.score, optimum.peak) == (0.8, 0.9)
    assert optimum.thresholds == (0.59, 0.63)
    assert "0.59 to 0.63 are as good" in str(optimum)
    assert "score 0.8000 (the peak is 0.9000)" in str(optimum)
    assert not optimum.at_edge


def test_thresholds_in_coarse_steps_are_not_smoothed() -> None:
    """Their neighbours are too far to say whether a peak is luck, so the peak is chosen."""
    surface = np.full((15, 1), 0.1)
    surface[4:9, 0] = 0.1650, 0.1843, 0.1740, 0.1735, 0.1730
    assert find_optimum(surface, Space.between(0.2, 0.9, 0.05)).threshold == 0.45


@given(
    st.lists(st.integers(1, 99), min_size=1, max_size=30, unique=True), st.integers(0, 2**32 - 1)
)
def test_neighbours_are_those_within_two_hundredths(hundredths: list[int], seed: int) -> None:
    """However uneven the steps are, as a recipe's own threshold makes them."""
    places = sorted(hundredths)
    surface = np.random.default_rng(seed).random((len(places), 1))
    found = smoothed(surface, [place / 100 for place in places])
    for place, mean in zip(places, found[:, 0], strict=True):
        near = [abs(other - place) <= 2 for other in places]
        assert mean == pytest.approx(surface[near].mean())


def test_an_optimum_at_the_edge_is_said() -> None:
    """A score that still grows at the last threshold asks for more thresholds."""
    surface = np.linspace(0, 1, 17)[:, None]
    assert find_optimum(surface, Space(SPACE.thresholds)).at_edge


@given(st.integers(5, 12), st.integers(3, 6), st.integers(0, 2**32 - 1))
def test_the_smoothed_surface_is_scipys_inside(rows: int, columns: int, seed: int) -> None:
    """Away from the edges it is a moving mean over 5 thresholds and 3 sizes."""
    surface = np.random.default_rng(seed).random((rows, columns))
    wanted = uniform_filter1d(uniform_filter1d(surface, 5, axis=0), 3, axis=1)
    found = smoothed(surface, [0.3 + 0.01 * row for row in range(rows)])
    assert found[2:-2, 1:-1] == pytest.approx(wanted[2:-2, 1:-1])


def test_a_gain_that_is_real_survives() -> None:
    """All folds agree on the optimum, so nothing of the gain is lost out of fold."""
    table = made_table()
    fold_of = {name: number % 3 for number, name in enumerate(table.images)}
    before = fixed_places(table, (0.2,), (0,))
    survival = leave_one_fold_out(table, fold_of, before)
    assert survival.before < 0.6
    assert survival.promised == survival.kept == 1
    assert survival.share == 1
    assert [gain.images for gain in survival.folds] == [2, 2, 2]
    assert "100% of the gain survives" in str(survival)


def test_a_gain_that_is_luck_does_not_survive() -> None:
    """Images that are pure noise promise a gain, which the other folds do not keep."""
    rng = np.random.default_rng(1)
    swept = []
    for number in range(8):
        values = rng.integers(0, 256, (1, 6, 6)).astype(np.uint8)
        truth = BitMask.from_array(rng.integers(0, 2, (6, 6)))
        swept.append((str(number), sweep_image(values, [truth], SPACE, [0])))
    table = SweepTable.of(SPACE, [""], swept)
    fold_of = {name: int(name) % 4 for name in table.images}
    best = choose(table).optima[""]
    before = fixed_places(table, (best.threshold,), (best.size,))
    survival = leave_one_fold_out(table, fold_of, before)
    assert survival.promised == survival.before
    assert survival.kept <= survival.promised
    assert survival.share is None
    assert "nothing is gained" in str(survival)


def test_folds_are_scored_by_values_of_the_others() -> None:
    """The score of a fold is that of a choice on the other folds' images alone."""
    table = made_table(classes=2, limits=(0.35, 0.75))
    fold_of = {name: number % 2 for number, name in enumerate(table.images)}
    before = fixed_places(table, (0.5,), (0,))
    survival = leave_one_fold_out(table, fold_of, before, "class", "set")
    others = table.only([name for name, fold in fold_of.items() if fold == 0])
    held = table.only([name for name, fold in fold_of.items() if fold == 1])
    places = choose(others, "class", "set").places(held)
    assert survival.folds[1].after == mean_score(held, places, "set")


@pytest.mark.parametrize(
    ("fold_of", "answer"),
    [
        ({}, "image0: it is held out by no fold, so no score of it is honest"),
        ({f"image{i}": -1 for i in range(6)}, "image0: it is held out by no fold"),
        ({f"image{i}": 2 for i in range(6)}, "found images of fold 2 alone, wanted two folds"),
    ],
)
def test_folds_that_cannot_be_left_out_are_refused(fold_of: dict[str, int], answer: str) -> None:
    """One sentence each."""
    table = made_table()
    with pytest.raises(EvaluationError, match=answer):
        leave_one_fold_out(table, fold_of, fixed_places(table, (0.5,), (0,)))


def test_a_group_of_one_fold_is_refused() -> None:
    """Nobody else can choose for it."""
    table = made_table()
    fold_of = {name: number % 2 for number, name in enumerate(table.images)}
    groups = {name: f"organ{fold}" for name, fold in fold_of.items()}
    before = fixed_places(table, (0.5,), (0,))
    with pytest.raises(EvaluationError, match="the group organ0 is in fold 0 alone"):
        leave_one_fold_out(table, fold_of, before, "group", groups=groups)


def test_excluded_images_have_no_say() -> None:
    """The table without an image is that of the others, and unknown ids are refused."""
    table = made_table()
    rest = table.without(["image1"])
    assert rest.images == ("image0", "image2", "image3", "image4", "image5")
    assert np.array_equal(rest.found, table.found[[0, 2, 3, 4, 5]])
    with pytest.raises(EvaluationError, match="found 'imagge1' in a list of images"):
        table.without(["imagge1"])
    with pytest.raises(EvaluationError, match="found all 6 images excluded"):
        table.without(table.images)


def test_the_set_score_is_that_of_sums() -> None:
    """It weighs images by their pixels, and the mean weighs them alike."""
    table = made_table(classes=2, limits=(0.35, 0.75))
    areas = table.at(fixed_places(table, (0.5, 0.6), (10, 0)))
    both, found, truth = (
        each.sum(0).astype(float) for each in (areas.both, areas.found, areas.truth)
    )
    assert score_of(areas, "set") == pytest.approx(2 * both / (found + truth))
    each = 2 * areas.both.astype(float) / (areas.found.astype(float) + areas.truth)
    assert score_of(areas, "dice") == pytest.approx(each.mean(0))


def test_the_total_is_that_of_the_seed(tmp_path) -> None:
    """Each image's best threshold beside the common one, and the means in the row AVE."""
    table = made_table()
    chosen = choose(table)
    total = total_table(table, chosen.places(table))
    write_total(total, tmp_path / "total.csv")
    read = pd.read_csv(tmp_path / "total.csv")
    assert list(read.columns) == [
        "name",
        "best threshold",
        "best score",
        "common threshold",
        "common score",
    ]
    assert read["name"].tolist() == [*table.images, "AVE"]
    assert (read["best score"] >= read["common score"]).all()
    assert read.iloc[-1, 1:].tolist() == pytest.approx(read.iloc[:-1, 1:].mean().tolist(), abs=1e-4)
    assert read["common score"].iloc[-1] == pytest.approx(chosen.value, abs=1e-4)


def test_the_total_of_several_classes_names_them() -> None:
    """There is one row per image and class."""
    table = made_table(images=2, classes=2)
    total = total_table(table, fixed_places(table, (0.5,), (0,)), "set")
    names = ["image0 class0", "image0 class1", "image1 class0", "image1 class1", "AVE"]
    assert total["name"].tolist() == names


def test_a_table_without_images_is_refused() -> None:
    """There is nothing to choose by."""
    with pytest.raises(EvaluationError, match="found no image with predictions and truth"):
        SweepTable.of(SPACE, [""], [])
