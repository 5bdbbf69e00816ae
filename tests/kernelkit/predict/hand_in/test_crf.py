"""The CRF beside pydensecrf2 itself, and beside exact sums by the published formula.

`pydensecrf2.npz` holds what pydensecrf2 1.1 made of `salt_like(0, 101)` to `salt_like(11, 101)`. It
has no wheel, so tests cannot install it. Each bit is a pixel, row by row. Its lattice comes close
to the exact sums, by .002 of the pixels.
"""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kernelkit.errors import MaskError
from kernelkit.mask import BitMask
from kernelkit.predict.hand_in import crf as module
from kernelkit.predict.hand_in.crf import crf
from tests.made.masks import binary_images

# of the pixels: how far pydensecrf2 and this CRF may be apart
CLOSE = 0.003
# a probability so near to a half may round to either side
VERGE = 0.001


def dense_crf(
    image: NDArray[np.uint8], sigma: float, compat: float, p: float, steps: int
) -> NDArray[np.float64]:
    """The probability that pydensecrf computes, by sums over all pairs of pixels, not its lattice.

    `unary_from_labels(image, 2, p, zero_unsure=False)`, `addPairwiseGaussian(sigma, compat)` with
    its symmetric normalisation, `inference(steps)`. A Gaussian of both distances is the product of
    those of each. So the sums go along the rows, then along the columns.
    """
    labels = np.stack([image == 0, image == 1])
    unary = np.where(labels, -np.log(p), -np.log(1 - p))
    rows, cols = (gaussians(side, sigma) for side in image.shape)
    norm = 1 / np.sqrt(np.multiply.outer(rows.sum(1), cols.sum(1)) + 1e-20)
    q = softmax(-unary)
    for _ in range(steps):
        q = softmax(-unary + compat * norm * (rows @ (norm * q) @ cols))
    return q[1]


def gaussians(side: int, sigma: float) -> NDArray[np.float64]:
    """What each place on an axis weighs for each other one."""
    places = np.arange(side) / sigma
    return np.exp(-((places[:, None] - places) ** 2) / 2)


def softmax(energies: NDArray[np.float64]) -> NDArray[np.float64]:
    e = np.exp(energies - energies.max(0))
    return e / e.sum(0)


def salt_like(seed: int, side: int = 61) -> NDArray[np.uint8]:
    """A hard mask with bays, islands and specks, as of a network that is unsure."""
    noise = np.random.default_rng(seed).standard_normal((side, side)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 5)
    rough = smooth / smooth.std() + 0.1 * noise
    return (rough > np.random.default_rng(seed).uniform(-1, 1)).astype(np.uint8)


def test_the_crf_is_pydensecrfs() -> None:
    """At salt's settings at most .003 of the pixels differ from what pydensecrf2 makes."""
    with np.load(Path(__file__).parent / "pydensecrf2.npz") as stored:
        masks, theirs = (np.unpackbits(stored[name], axis=-1, count=101) for name in stored)
    ours = [crf(BitMask.from_array(mask), sigma=3, compat=3, p=0.7, steps=10) for mask in masks]
    differing = [(mask.to_array() != their).sum() for mask, their in zip(ours, theirs, strict=True)]
    assert max(differing) <= CLOSE * masks[0].size
    assert (masks != theirs).sum(axis=(1, 2)).min() > 4 * max(differing)


@pytest.mark.parametrize("seed", range(8))
def test_the_crf_is_the_published_one(seed: int) -> None:
    """At salt's settings at most .003 of the pixels differ from exact sums over all pairs."""
    image = salt_like(seed)
    smoothed = crf(BitMask.from_array(image), sigma=3, compat=3, p=0.7, steps=10).to_array()
    expected = dense_crf(image, sigma=3, compat=3, p=0.7, steps=10) > 0.5
    assert (smoothed != image).any()
    assert (smoothed != expected).mean() <= CLOSE


@settings(max_examples=40)
@given(
    binary_images(),
    st.floats(0.5, 4),
    st.floats(0, 6),
    st.floats(0.51, 0.99),
    st.integers(1, 12),
)
def test_it_is_the_published_one_at_any_setting(
    image: NDArray[np.uint8], sigma: float, compat: float, p: float, steps: int
) -> None:
    """Of any mask and any setting, all pixels but those on the verge agree with exact sums."""
    image = image[:20, :60]
    smoothed = crf(BitMask.from_array(image), sigma=sigma, compat=compat, p=p, steps=steps)
    expected = dense_crf(image, sigma, compat, p, steps)
    is_sure = np.abs(expected - 0.5) > VERGE
    assert ((smoothed.to_array() == (expected > 0.5)) | ~is_sure).all()


@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.parametrize("shape", [(1, 1), (5, 300), (101, 101)])
def test_a_mask_of_one_label_stays(value: int, shape: tuple[int, int]) -> None:
    """All foreground stays all foreground, which pydensecrf's relabelling turns to background."""
    image = np.full(shape, value, np.uint8)
    assert np.array_equal(crf(BitMask.from_array(image)).to_array(), image)


@pytest.mark.parametrize("side", [16, 37])
def test_a_large_mask_is_smoothed_square_by_square(
    monkeypatch: pytest.MonkeyPatch, side: int
) -> None:
    """Squares with enough around them give the mask that one piece gives."""
    mask = BitMask.from_array(salt_like(3, 150))
    whole = crf(mask, sigma=1.5, steps=4)
    monkeypatch.setattr(module, "_SIDE", side)
    assert crf(mask, sigma=1.5, steps=4) == whole


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"sigma": 0}, "found sigma 0, wanted 0.1 to"),
        ({"sigma": float("nan")}, "found sigma nan"),
        ({"compat": -1}, "found compat -1"),
        ({"p": 0.5}, "found p 0.5, wanted more than 0.5"),
        ({"p": 1}, "found p 1, wanted more than 0.5 and less than 1"),
        ({"steps": 0}, "found steps 0"),
        ({"steps": 2.5}, "found steps 2.5, wanted a whole number"),
        ({"sigma": 100, "steps": 10}, "over 4000 pixels.* Choose steps of at most 5"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments: dict[str, float], complaint: str) -> None:
    """Each value has its limits, and a reach that memory does not bound is refused."""
    with pytest.raises(MaskError, match=complaint):
        crf(BitMask.zeros(3, 3), **arguments)  # type: ignore[arg-type]
