"""How a scale sees pictures, and how their answers come back to one size."""

import cv2
import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernelkit.ensemble.merge import Answer
from kernelkit.ensemble.questions import PictureQuestion, inner_window
from kernelkit.ensemble.scales import Scale
from kernelkit.recipe import PyramidScale

sides = st.integers(1, 60)


@given(st.integers(1, 50), st.integers(0, 20), st.integers(0, 20), st.integers(1, 5))
def test_pads_grow_with_the_picture(side, before, after, factor):
    """At a whole multiple of the source's size, the window is the source without its pads."""
    padded = side + before + after
    window = inner_window((padded * factor, padded), (before, after), (padded, padded))
    assert window == (
        slice(before * factor, (before + side) * factor),
        slice(before, before + side),
    )


@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 20), st.integers(0, 20))
def test_a_window_is_only_given_if_it_ends_at_pixels(seen, side, before, after):
    """There is none if a pad is no whole number of pixels at the size that a network sees."""
    padded = side + before + after
    window = inner_window((seen, seen), (before, after), (padded, padded))
    is_whole = all((pad * seen) % padded == 0 for pad in (before, after))
    assert (window is not None) == is_whole
    if window is not None:
        assert window[0].stop - window[0].start == seen * side / padded


@given(sides, sides, sides, sides, st.integers(0, 2**32 - 1))
def test_answers_are_resized_as_by_opencv(height, width, high, wide, seed):
    """Enlarged and made smaller, also by more than two, as cv2.resize with INTER_LINEAR does."""
    maps = np.random.default_rng(seed).random((2, 3, height, width), dtype=np.float32)
    question = PictureQuestion(
        (torch.zeros(2, 3, height, width),), range(2), (0, 0), (height, width), (high, wide)
    )
    answer = Answer(torch.from_numpy(maps), "probabilities")
    scale = Scale(0, PyramidScale(), 32, {})
    found = question.fitted(answer, scale, "probabilities", "sigmoid").values.numpy()
    for planes, resized in zip(maps, found, strict=True):
        for plane, one in zip(planes, resized, strict=True):
            expected = cv2.resize(plane, (wide, high), interpolation=cv2.INTER_LINEAR)
            np.testing.assert_allclose(one, expected, atol=2e-5)


@given(st.integers(1, 70), st.integers(1, 70))
def test_pictures_are_padded_until_the_stride_divides_them(height, width):
    """The border is repeated at the right and below, and cut off the answer again."""
    pictures = torch.rand(1, 2, height, width)
    question = PictureQuestion((pictures,), range(1), (0, 0), (height, width), (height, width))
    scale = Scale(0, PyramidScale(), 32, {})
    seen = question.seen(scale)
    expected = np.pad(
        pictures.numpy(), ((0, 0), (0, 0), (0, -height % 32), (0, -width % 32)), mode="edge"
    )
    assert np.array_equal(seen.numpy(), expected)
    back = question.fitted(Answer(seen, "logits"), scale, "logits", "sigmoid")
    assert torch.equal(back.values, pictures)
