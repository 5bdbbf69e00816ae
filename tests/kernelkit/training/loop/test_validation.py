import tracemalloc
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import f1_score, jaccard_score
from torch import Tensor, nn

from kernelkit.errors import TrainingError
from kernelkit.grid import Window
from kernelkit.training.loop.validation import Judgement, Look, Seen, judge
from tests.made.small_fold import Squares, normalised

CPU = torch.device("cpu")


class Brightness(nn.Module):
    """A network that looks at each pixel alone. What it says of one does not depend on its tile."""

    def __init__(self, outputs: int = 1) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, pixels: Tensor) -> Tensor:
        bright = 20 * (pixels.mean(1, keepdim=True) - 0.12)
        return torch.cat([bright * (number + 1) for number in range(self.outputs)], 1)


def judged(
    pictures: Sequence[Squares], look: Look, network: nn.Module | None = None, **more: object
) -> Judgement:
    named = {f"v{number}": picture for number, picture in enumerate(pictures)}
    made = judge({"val": network or Brightness()}, named, look, device=CPU, **more)  # type: ignore[arg-type]
    return made["val"]


def found_in(picture: Squares, threshold: float = 0.5) -> NDArray[np.bool_]:
    """What the network finds in the whole image at once."""
    answer = Brightness()(normalised(torch.from_numpy(picture.pixels)[None]))
    return np.asarray(answer.sigmoid()[0, 0] > threshold)


SIDES = st.integers(13, 90)


@settings(max_examples=20)
@given(
    sizes=st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=3),
    core=st.sampled_from([0, 16, 32, 64]),
    pad=st.sampled_from([0, 8, 16]),
    blend=st.sampled_from(["crop", "hann"]),
    batch=st.sampled_from([1, 1 << 14]),
    seed=st.integers(0, 99),
)
def test_the_score_is_that_of_whole_images(
    sizes: list[tuple[int, int]], core: int, pad: int, blend: str, batch: int, seed: int
) -> None:
    """In tiles or whole, cut or blended, alone or in batches, scikit-learn finds the same score."""
    pictures = [Squares.made(*size, seed + number) for number, size in enumerate(sizes)]
    look = Look(normalised, core=core, pad=pad, blend=blend, batch=batch)  # type: ignore[arg-type]
    got = judged(pictures, look)
    found = [found_in(picture) for picture in pictures]
    truth = [picture.labels[0] > 127 for picture in pictures]
    flat = [np.concatenate([each.ravel() for each in masks]) for masks in (truth, found)]
    # blended tiles are bytes, so that pixels near the threshold may change sides
    tolerance = 1e-9 if blend == "crop" else 0.02
    assert got.score("dice") == pytest.approx(f1_score(*flat, zero_division=1), abs=tolerance)
    assert got.score("iou") == pytest.approx(jaccard_score(*flat, zero_division=1), abs=tolerance)
    pairs = zip(truth, found, strict=True)
    each = [f1_score(one.ravel(), other.ravel(), zero_division=1) for one, other in pairs]
    assert got.score("dice_per_image") == pytest.approx(np.mean(each), abs=tolerance)


def test_only_pixels_with_data_count() -> None:
    """What is found where there is no data is neither right nor wrong."""
    picture = Squares.made(60, 80, 1)
    picture.held = np.random.default_rng(0).random((60, 80)) < 0.7
    got = judged([picture], Look(normalised, core=32, pad=8))
    held = picture.held.ravel()
    truth, found = (picture.labels[0] > 127).ravel()[held], found_in(picture).ravel()[held]
    assert got.score("dice") == pytest.approx(f1_score(truth, found))
    assert got.counts[0].true_positives + got.counts[0].true_negatives == (truth == found).sum()


def test_pads_of_whole_pictures_do_not_count() -> None:
    """The network sees them, and only what lies inside is judged."""
    picture = Squares.made(64, 64, 2)
    look = Look(normalised, inner=lambda _: Window(14, 14, 37, 37))
    inside = Squares(picture.pixels[:, 14:51, 14:51], picture.labels[:, 14:51, 14:51])
    assert judged([picture], look).counts == judged([inside], Look(normalised)).counts


def test_the_likeliest_class_is_taken_with_softmax() -> None:
    """The mean IoU and F1 of both classes and the background are those of scikit-learn."""
    picture = Squares.made(50, 70, 3)
    other = np.zeros_like(picture.labels)
    other[:, :20, :20] = 255 - picture.labels[:, :20, :20]
    picture.labels = np.concatenate([picture.labels, other])
    look = Look(
        normalised,
        activation="softmax",
        labels=(1, 2),
        threshold=None,
        core=32,
        pad=8,
        confuses=True,
    )
    got = judged([picture], look, Brightness(3))
    answer = Brightness(3)(normalised(torch.from_numpy(picture.pixels)[None]))[0]
    found = answer.argmax(0).numpy().ravel()
    truth = (1 * (picture.labels[0] > 0) + 2 * (picture.labels[1] > 0)).ravel()
    assert got.score("mean_iou") == pytest.approx(jaccard_score(truth, found, average="macro"))
    assert got.score("mean_f1") == pytest.approx(f1_score(truth, found, average="macro"))


class Classifier(nn.Module):
    """It says that a picture is empty if no pixel is bright."""

    def forward(self, pixels: Tensor) -> Tensor:
        brightest = pixels.mean(1).flatten(1).amax(1)
        return torch.stack([0.3 - brightest, brightest - 0.3], 1)


def test_a_classifier_is_judged_by_the_share_of_pictures() -> None:
    """Here it takes one empty picture with a bright pixel for one with a label."""
    pictures = [Squares.made(32, 32, seed, count=seed % 2) for seed in range(4)]
    pictures[0].pixels[:, 5, 5] = 255
    look = Look(normalised, present=lambda logits: logits.argmax(1) > 0)
    assert judged(pictures, look, Classifier()).score("accuracy") == 0.75


def test_networks_that_compete_see_each_tile_once() -> None:
    """The images are read once for the raw and the averaged weights."""
    reads = []

    class Counting(Squares):
        def read(self, window: Window):  # type: ignore[no-untyped-def]
            reads.append(window)
            return super().read(window)

    plain = Squares.made(64, 64, 5)
    picture = Counting(plain.pixels, plain.labels)
    look = Look(normalised, core=32, pad=0)
    both = judge({"val": Brightness(), "ema": Brightness()}, {"a": picture}, look, device=CPU)
    assert both["val"].counts == both["ema"].counts
    assert len(reads) == len(look.grid(picture))


def test_what_was_found_is_shown_image_by_image() -> None:
    """It comes with the labels, as masks of the whole image."""
    shown: dict[str, Seen] = {}
    pictures = [Squares.made(40, 50, seed) for seed in range(2)]
    judged(pictures, Look(normalised, core=32, pad=8), show=shown.__setitem__)
    for picture, seen in zip(pictures, shown.values(), strict=True):
        np.testing.assert_array_equal(seen.truth[0].to_array(), picture.labels[0] > 127)
        np.testing.assert_array_equal(seen.found["val"][0].to_array(), found_in(picture))


class Endless(Squares):
    """An image that is made where it is read."""

    side = 5000

    @property
    def height(self) -> int:
        return self.side

    @property
    def width(self) -> int:
        return self.side

    def read(self, window: Window):  # type: ignore[no-untyped-def]
        size = window.height, window.width
        return np.full((3, *size), 60, np.uint8), np.zeros((1, *size), np.uint8), None


class Nothing(nn.Module):
    def forward(self, pixels: Tensor) -> Tensor:
        return pixels[:, :1]


def test_the_memory_for_a_slide_is_bounded() -> None:
    """25 million pixels take the packed masks and some tiles, not a byte per pixel."""
    tracemalloc.start()
    nothing = np.zeros((3, 1, 1), np.uint8)
    judged([Endless(nothing, nothing)], Look(normalised, core=512, pad=64), Nothing())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < Endless.side**2


def test_answers_that_are_no_numbers_are_an_error() -> None:
    """The sentence names the image, and nothing gets a score."""

    class Broken(nn.Module):
        def forward(self, pixels: Tensor) -> Tensor:
            return pixels[:, :1] / 0

    with pytest.raises(TrainingError, match="NaN or infinity in the validation image v0"):
        judged([Squares.made(32, 32, 0)], Look(normalised, core=32), Broken())
