"""One pass over a map, beside components of each threshold and the masks of a run."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelkit.canvas import enlarge_and_threshold
from kernelkit.errors import EvaluationError
from kernelkit.evaluation.search.levels import levels_of, shares_of
from kernelkit.evaluation.search.space import Space
from kernelkit.evaluation.search.sweep import sweep
from kernelkit.evaluation.search.table import sweep_image
from kernelkit.mask import BitMask
from kernelkit.vocabulary import Keep
from tests.made.probability_maps import brute_force, byte_maps

thresholds = st.lists(st.integers(1, 99), min_size=1, max_size=6, unique=True).map(
    lambda values: tuple(value / 100 for value in sorted(values))
)
sizes = st.lists(st.integers(0, 60), min_size=1, max_size=4, unique=True).map(
    lambda values: tuple(sorted(values))
)
keeps = st.sampled_from([">", ">="])
connectivities = st.sampled_from([4, 8])


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    return Space(draw(thresholds), draw(sizes), draw(keeps), draw(connectivities))


@given(byte_maps(), spaces(), st.integers(0, 2**32 - 1))
def test_one_pass_is_brute_force(values: np.ndarray, space: Space, seed: int) -> None:
    """Each threshold and size has the areas of scipy's components, counted one by one."""
    truth = np.random.default_rng(seed).integers(0, 2, values.shape[1:])
    areas = sweep_image(values, [BitMask.from_array(truth)], space, [0])
    for t, threshold in enumerate(space.thresholds):
        is_on = values[0] > threshold * 255
        for s, size in enumerate(space.sizes):
            wanted = brute_force(is_on, truth, size, space.keep, space.connectivity)
            assert (areas.found[0, t, s], areas.both[0, t, s]) == wanted
    assert areas.truth.tolist() == [truth.sum()]


@given(byte_maps(most=70, classes=3), spaces(), st.booleans(), st.integers(0, 2**32 - 1))
def test_one_pass_is_the_product(
    values: np.ndarray, space: Space, as_floats: bool, seed: int
) -> None:
    """Each threshold and size has the areas of the masks that a run would submit."""
    rng = np.random.default_rng(seed)
    planes = values / np.float32(255) if as_floats else values
    size = values.shape[1:]
    truth = [BitMask.from_array(rng.integers(0, 2, size)) for _ in range(2)]
    areas = sweep_image(planes, truth, space, [2, 0])
    for t, threshold in enumerate(space.thresholds):
        masks = enlarge_and_threshold(planes, size, 1, [threshold])
        for s, least in enumerate(space.sizes):
            for row, label in enumerate([2, 0]):
                mask = masks[label].remove_small(least, space.keep, space.connectivity)
                found, both = areas.found[row, t, s], areas.both[row, t, s]
                assert (found, both) == (mask.area, (mask & truth[row]).area)


@given(st.integers(0, 255), st.lists(st.floats(0.001, 0.999), min_size=1, max_size=8, unique=True))
def test_a_byte_at_a_threshold_is_decided_as_in_a_run(value: int, limits: list[float]) -> None:
    """Bytes and floats on the very threshold are not above it, whatever the rounding."""
    limits = sorted([*limits, value / 255 if 0 < value < 255 else 0.5])
    for planes in (
        np.full((1, 1, 1), value, np.uint8),
        np.full((1, 1, 1), value / 255, np.float32),
    ):
        level = int(levels_of(planes, limits, [0])[0, 0, 0])
        wanted = sum(enlarge_and_threshold(planes, (1, 1), 1, [each])[0].area for each in limits)
        assert level == wanted


def test_pixels_without_data_do_not_count() -> None:
    """They are neither found nor true."""
    values = np.full((1, 2, 4), 255, np.uint8)
    truth = BitMask.from_array(np.ones((2, 4)))
    left = BitMask.from_array([[1, 1, 0, 0]] * 2)
    space = Space((0.5,))
    areas = sweep_image(values, [truth], space, [0], within=left)
    assert (areas.found.item(), areas.both.item(), areas.truth.item()) == (4, 4, 4)


@given(byte_maps(), spaces(), st.integers(2, 3), st.integers(0, 2**32 - 1))
def test_a_map_at_a_scale_counts_in_pixels_of_the_mask(
    values: np.ndarray, space: Space, scale: int, seed: int
) -> None:
    """One pixel stands for a square. So areas are those of the map enlarged by whole pixels."""
    truth = np.random.default_rng(seed).integers(0, 2, np.array(values.shape[1:]) * scale)
    mask = BitMask.from_array(truth)
    coarse = sweep_image(values, [mask], space, [0], scale=scale)
    fine = sweep_image(values.repeat(scale, 1).repeat(scale, 2), [mask], space, [0])
    assert np.array_equal(coarse.found, fine.found)
    assert coarse.both == pytest.approx(fine.both, abs=0.002 * truth.size)


@given(byte_maps(), spaces(), st.integers(2, 3))
def test_a_shrunk_map_is_the_mean_of_squares(values: np.ndarray, space: Space, shrink: int) -> None:
    """A map of equal squares is the same map, shrunk."""
    truth = [BitMask.zeros(*(np.array(values.shape[1:]) * shrink))]
    large = values.repeat(shrink, 1).repeat(shrink, 2)
    shrunk = sweep_image(large, truth, space, [0], shrink=shrink)
    assert np.array_equal(shrunk.found, sweep_image(large, truth, space, [0]).found)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 5))
def test_shares_are_those_of_squares(height: int, width: int, scale: int) -> None:
    """At the border, squares are of the pixels that there are."""
    mask = np.random.default_rng(height * width).integers(0, 2, (height, width))
    size = -(-height // scale), -(-width // scale)
    shares = shares_of(BitMask.from_array(mask), size, scale)
    for y, x in np.ndindex(size):
        square = mask[y * scale : (y + 1) * scale, x * scale : (x + 1) * scale]
        assert shares[y, x] == pytest.approx(255 * square.mean(), abs=0.51)


def test_many_components_find_room() -> None:
    """A checkerboard has more components than there was room for, and one if corners join."""
    checkers = (np.add.outer(np.arange(200), np.arange(300)) % 2).astype(np.uint8)
    truth = np.full(checkers.shape, 255, np.uint8)
    apart, _ = sweep(checkers, truth, 1, [1, 2], connectivity=4)
    joined, _ = sweep(checkers, truth, 1, [1, 2], connectivity=8)
    assert apart.tolist() == [[30000, 0]]
    assert joined.tolist() == [[30000, 30000]]


@pytest.mark.parametrize(
    ("keep", "kept"), [(">=", [6, 6, 0]), (">", [6, 0, 0])], ids=["at least", "more than"]
)
def test_a_component_of_the_very_size(keep: Keep, kept: list[int]) -> None:
    """Whether it stays is what `remove_small` says."""
    plane = np.ones((2, 3), np.uint8)
    found, _ = sweep(plane, plane, 1, [5, 6, 7], keep=keep)
    assert found.tolist() == [kept]


def test_a_space_of_equal_steps() -> None:
    """Both ends are included, and steps do not drift."""
    space = Space.between(0.2, 0.9, 0.01)
    assert len(space.thresholds) == 71
    assert space.thresholds[-1] == 0.9
    assert space.including([0.555, 0.2], [0, 14]).shape == (72, 2)


@pytest.mark.parametrize(
    ("make", "answer"),
    [
        (lambda: Space(()), "found no thresholds to be tried"),
        (lambda: Space((0.5,), ()), "found no minimum sizes to be tried"),
        (lambda: Space((0.0, 0.5)), "found thresholds from 0 to 0.5, wanted them between 0 and 1"),
        (lambda: Space((0.5,), (-1,)), "found minimum sizes from -1 to -1, wanted them 0 or more"),
        (lambda: Space((0.5, 0.4)), "found thresholds out of order or twice"),
        (lambda: Space.between(0.001, 0.999, 0.001), "found 999 thresholds to be tried"),
        (lambda: Space.between(0.5, 0.4, 0.01), "from 0.5 to 0.4 by 0.01, wanted a range upward"),
        (lambda: Space.between(0.5, 0.6, 0), "wanted a range upward in steps above 0"),
    ],
)
def test_what_cannot_be_tried_is_refused(make, answer: str) -> None:
    """One sentence each."""
    with pytest.raises(EvaluationError, match=answer):
        make()


def test_connectivity_is_that_of_the_masks() -> None:
    """Two pixels that touch at a corner are two components of one pixel."""
    plane = np.eye(2, dtype=np.uint8) * 255
    space = Space((0.5,), (2,), connectivity=4)
    assert sweep_image(plane[None], [BitMask.zeros(2, 2)], space, [0]).found.item() == 0
