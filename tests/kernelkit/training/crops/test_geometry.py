"""How crops get their pixels: exact orientations, one resampling, nothing read in vain."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from kernelkit.grid import Window
from kernelkit.reader.shared import LocalArray
from kernelkit.training.augment.plan import Plan, plan_of
from kernelkit.training.crops.batch import Layout
from kernelkit.training.crops.draws import crop_generator
from kernelkit.training.crops.geometry import crop_window, place
from kernelkit.training.crops.sources import TrainingWindow
from kernelkit.training.crops.task import CropTask
from kernelkit.training.cuts import CutImage
from kernelkit.training.recipe.augment import AugmentStep
from tests.made.crops import cut_image

HYPOTHESIS = settings(max_examples=60)
NUMBERS = st.floats(0, 1, exclude_max=True, width=32)


def plan(*steps: Any) -> Plan:
    return plan_of([AugmentStep.model_validate(step) for step in steps], 3, 3)


def drawn(made: Plan, seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).random(made.draws, np.float32)


def crop_of(
    image: CutImage, window: Window, made: Plan, epoch: int = 0
) -> tuple[NDArray, NDArray, NDArray]:
    """The pixels, the labels and where there is data of the one crop of a batch."""
    layout = Layout(1, image.bands, image.classes, window.height, window.width, image.dtype)
    memory = LocalArray(np.empty((1, layout.nbytes), np.uint8))
    source = TrainingWindow(image, None, window, 1.0)
    CropTask(memory, 0, layout, (source,), 0, 0, made, 0.0, 3, epoch).run(None)
    pixels, labels, held = layout.arrays(memory.array[0])
    return pixels[0], labels[0], held[0]


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> CutImage:
    """An image whose labels are its first band."""
    pixels = np.random.default_rng(0).integers(0, 256, (3, 90, 120), np.uint8)
    return cut_image(tmp_path_factory.mktemp("noise"), "noise", pixels, pixels[:1])


@HYPOTHESIS
@given(
    window=st.builds(Window, *[st.integers(-50, 50)] * 2, *[st.integers(1, 80)] * 2),
    size=st.tuples(st.integers(1, 80), st.integers(1, 80)),
    draws=st.tuples(NUMBERS, NUMBERS, NUMBERS),
)
def test_a_crop_lies_in_its_window_or_around_its_middle(
    window: Window, size: tuple[int, int], draws: tuple[float, float, float]
) -> None:
    """Along each axis one of both holds the other, whatever is drawn."""
    crop = crop_window(window, size, draws, random=0.5)
    assert crop[2:] == size
    for start, side, first, length in zip(crop[:2], size, window[:2], window[2:], strict=True):
        if side <= length:
            assert first <= start
            assert start + side <= first + length
        else:
            assert start <= first
            assert first + length <= start + side
        if draws[0] >= 0.5:
            assert abs(2 * start + side - (2 * first + length)) <= 1, "the middle"


def test_each_of_the_eight_orientations_is_as_frequent(noise: CutImage) -> None:
    """d4 gives every orientation of a square, and moves the labels alike."""
    window = Window(10, 20, 48, 48)
    pixels = noise.read_pixels(window)
    wanted = {
        np.ascontiguousarray(each).tobytes(): number
        for number, each in enumerate(
            turned if mirrored else turned[..., ::-1]
            for turned in (np.rot90(pixels, k, (1, 2)) for k in range(4))
            for mirrored in (False, True)
        )
    }
    found: Counter[int] = Counter()
    for epoch in range(400):
        got, labels, held = crop_of(noise, window, plan("d4"), epoch)
        found[wanted[got.tobytes()]] += 1
        np.testing.assert_array_equal(labels[0], got[0])
        assert held.all()
    assert set(found) == set(range(8))
    assert min(found.values()) > 25, "50 are expected"


@HYPOTHESIS
@given(seed=st.integers(0, 10**6))
def test_a_resampling_that_changes_nothing_agrees_with_the_orientation(
    noise: CutImage, seed: int
) -> None:
    """The matrix of any chain of orientations means what numpy does with the pixels."""
    window = Window(10, 20, 48, 48)
    chain = ["d4", "flip", "rotate90", {"flip": {"horizontal": False}}]
    nothing = {"affine": {"shift": 0, "scale": 0, "rotate": 0}}
    for steps in ([*chain, nothing], [nothing, *chain], [*chain[:2], nothing, *chain[2:]]):
        exact, moved = crop_of(noise, window, plan(*chain), seed), plan(*steps)
        # the orientations get the same numbers in both plans
        draws = _same_draws(plan(*chain), moved, seed)
        placement = place(window, moved.moves, draws)
        assert placement.matrix is not None
        rows, columns = np.mgrid[: window.height, : window.width]
        x, y = placement.matrix @ np.stack([columns.ravel(), rows.ravel(), np.ones(rows.size)])
        source = noise.read_pixels(placement.window)
        got = source[:, np.rint(y).astype(int), np.rint(x).astype(int)].reshape(3, 48, 48)
        np.testing.assert_allclose([x, y], np.rint([x, y]), atol=1e-9)
        np.testing.assert_array_equal(got, exact[0])


def _same_draws(exact: Plan, moved: Plan, seed: int) -> NDArray[np.float32]:
    """The numbers of the crop of this epoch for another plan with more steps."""
    numbers = crop_generator(3, seed, 0).random(exact.draws, np.float32)
    draws = np.zeros(moved.draws, np.float32)
    others = [leaf for leaf in moved.moves if leaf.name != "affine"]
    for leaf, other in zip(exact.moves, others, strict=True):
        draws[other.group] = numbers[leaf.group]
        draws[other.start : other.stop] = numbers[leaf.start : leaf.stop]
    return draws


@HYPOTHESIS
@given(seed=st.integers(0, 10**6))
def test_an_affine_crop_is_what_scipy_makes_of_the_whole_image(smooth: CutImage, seed: int) -> None:
    """One bilinear resampling, as precise as OpenCV's, which counts in 32nds of a pixel."""
    made = plan("d4", {"affine": {"shift": 0.1, "scale": 0.2, "rotate": 45}}, {"crop_resize": {}})
    window = Window(100, 110, 64, 64)
    found, labels, _ = crop_of(smooth, window, made, seed)
    placement = place(window, made.moves, crop_generator(3, seed, 0).random(made.draws, np.float32))
    assert placement.matrix is not None
    linear, start = placement.matrix[::-1, 1::-1], placement.matrix[::-1, 2]
    start = start + np.array(placement.window[:2])
    for band, wanted in zip(found, smooth.read_pixels(smooth.bounds), strict=True):
        other = ndimage.affine_transform(wanted, linear, start, output_shape=(64, 64), order=1)
        assert np.abs(band - other).max() < 0.1, "the image has slopes of 2"
    np.testing.assert_allclose(labels[0], found[0], atol=1)


@pytest.fixture(scope="module")
def smooth(tmp_path_factory: pytest.TempPathFactory) -> CutImage:
    """A float image of slopes, whose labels are its first band."""
    rows, columns = np.mgrid[:300, :320].astype(np.float32)
    waves = [100 + 40 * np.sin(rows / 30) + 40 * np.cos(columns / 25), rows / 2, 2 * columns]
    pixels = np.stack(waves).astype(np.float32)
    labels = np.rint(pixels[:1]).astype(np.uint8)
    return cut_image(tmp_path_factory.mktemp("smooth"), "smooth", pixels, labels)


def test_only_what_a_crop_needs_is_read() -> None:
    """An orientation reads the crop, and a turn its bounding box and a pixel around it."""
    window = Window(500, 500, 512, 512)
    turn = plan({"affine": {"shift": 0.1, "scale": 0.2, "rotate": 45}})
    for seed in range(50):
        assert place(window, plan("d4").moves, drawn(plan("d4"), seed)).window == window
        read = place(window, turn.moves, drawn(turn, seed)).window
        assert max(read.height, read.width) <= 512 * 2**0.5 / 0.8 + 5


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "int32", "float32"])
def test_any_dtype_and_any_number_of_bands_is_resampled(dtype: str, tmp_path: Path) -> None:
    """Seven bands of a constant stay that constant, in their dtype."""
    pixels = np.full((7, 80, 80), 101, dtype)
    image = cut_image(tmp_path, "even", pixels, np.full((2, 80, 80), 255, np.uint8))
    made = plan({"affine": {"rotate": 30, "shift": 0, "scale": 0}})
    found, labels, held = crop_of(image, Window(20, 20, 40, 40), made)
    assert found.dtype == dtype
    assert (found == 101).all()
    assert (labels == 255).all()
    assert held.all()


def test_large_integers_keep_their_last_digit(tmp_path: Path) -> None:
    """int32 is resampled as float64, in which each of its values is exact."""
    value = 2**31 - 7
    pixels = np.full((1, 80, 80), value, np.int32)
    image = cut_image(tmp_path, "large", pixels, np.zeros((1, 80, 80), np.uint8))
    found, _, _ = crop_of(image, Window(20, 20, 40, 40), plan({"affine": {"rotate": 30}}))
    assert (found == value).all()


def test_outside_of_a_zero_filled_image_nothing_is_held(tmp_path: Path) -> None:
    """Pixels that do not exist are 0, and no loss counts them."""
    pixels = np.full((1, 60, 60), 9, np.uint8)
    image = cut_image(tmp_path, "small", pixels, pixels)
    found, labels, held = crop_of(image, Window(-10, 20, 40, 60), plan())
    wanted = np.zeros((40, 60), bool)
    wanted[10:, :40] = True
    np.testing.assert_array_equal(held, wanted)
    np.testing.assert_array_equal(found[0], np.where(wanted, 9, 0))
    np.testing.assert_array_equal(labels[0], np.where(wanted, 9, 0))


def test_a_mirrored_border_is_held_like_the_image(tmp_path: Path) -> None:
    """With `fill: reflect` pixels and labels go on as numpy's `reflect` has them."""
    pixels = np.random.default_rng(1).integers(0, 255, (1, 60, 60), np.uint8)
    image = cut_image(tmp_path, "mirrored", pixels, pixels, fill="reflect")
    found, labels, held = crop_of(image, Window(-10, -20, 80, 100), plan())
    wanted = np.pad(pixels[0], ((10, 10), (20, 20)), "reflect")
    np.testing.assert_array_equal(found[0], wanted)
    np.testing.assert_array_equal(labels[0], wanted)
    assert held.all()


def test_pixels_without_data_are_never_mixed_with_others(tmp_path: Path) -> None:
    """After a turn a held pixel is a mean of data alone, and any other is what it was."""
    held = np.zeros((200, 200), bool)
    held[:, :100] = True
    pixels = np.where(held, 50.0, 0.0).astype(np.float32)[np.newaxis]
    image = cut_image(tmp_path, "radar", pixels, np.zeros((1, 200, 200), np.uint8), held)
    made = plan({"affine": {"rotate": 45, "shift": 0, "scale": 0.2}})
    shares = []
    for epoch in range(20):
        found, _, has_data = crop_of(image, Window(60, 60, 80, 80), made, epoch)
        assert np.abs(found[0][has_data] - 50).max() < 0.2, "within OpenCV's precision"
        assert set(np.unique(found[0][~has_data])) <= {0.0, 50.0}
        shares.append(has_data.mean())
    assert 0.4 < np.mean(shares) < 0.6
    assert len(set(shares)) > 10


@pytest.mark.parametrize("name", ["d4", "rotate90", "flip"])
def test_a_crop_that_is_no_square_keeps_its_sides(name: str, noise: CutImage) -> None:
    """It is turned by half a circle at most."""
    window = Window(5, 5, 30, 50)
    pixels = noise.read_pixels(window)
    allowed = {
        np.ascontiguousarray(each).tobytes()
        for half in (pixels, pixels[:, ::-1, ::-1])
        for each in (half, half[..., ::-1])
    }
    found = {crop_of(noise, window, plan(name), epoch)[0].tobytes() for epoch in range(60)}
    assert found <= allowed
    assert len(found) == (2 if name == "rotate90" else 4)


def test_one_of_several_moves_is_done() -> None:
    """`one_of` with p 0.5 leaves half of the crops as they are, and shares the rest."""
    steps = {"one_of": [{"crop_resize": {"least": 0.5}}, {"affine": {}}], "p": 0.5}
    made = plan(steps)
    kinds = Counter()
    for seed in range(600):
        draws = drawn(made, seed)
        kinds[tuple(leaf.name for leaf in made.moves if leaf.chosen(draws))] += 1
    assert set(kinds) == {(), ("crop_resize",), ("affine",)}
    assert abs(kinds[()] - 300) < 60
    assert abs(kinds["affine",] - 150) < 50
