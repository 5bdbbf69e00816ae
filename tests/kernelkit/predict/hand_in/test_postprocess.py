"""Postprocessing steps, as recipes list them."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelkit.errors import MaskError, RecipeError
from kernelkit.mask import BitMask
from kernelkit.predict.hand_in import postprocess
from kernelkit.recipe import PostprocessStep
from tests.made.masks import binary_images


def steps(*written: object) -> list[PostprocessStep]:
    return [PostprocessStep.model_validate(step) for step in written]


def squares(*sides: int) -> np.ndarray:
    """Squares of these sides in a row, apart from each other and from the border."""
    image = np.zeros((max(sides) + 2, sum(sides) + 2 * len(sides)), np.uint8)
    left = 1
    for side in sides:
        image[1 : 1 + side, left : left + side] = 1
        left += side + 2
    return image


def test_a_threshold_is_on_the_arrays_scale() -> None:
    """Probabilities above the threshold are on, whether stored as uint8 or as floats."""
    stored = np.array([[0, 177, 178, 179, 255]], np.uint8)
    expected = [[0, 0, 0, 1, 1]]
    assert postprocess.threshold(stored, 0.7 * 255).to_array().tolist() == expected
    assert postprocess.threshold(stored / 255, 0.7).to_array().tolist() == expected


@given(binary_images(), st.one_of(st.integers(1, 9), st.sampled_from([31, 63])))
def test_smoothing_is_cv2s(image: np.ndarray, radius: int) -> None:
    """Smoothing is cv2's opening, then its closing, by a square."""
    square = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    opened = cv2.morphologyEx(image, cv2.MORPH_OPEN, square)
    expected = cv2.morphologyEx(opened, cv2.MORPH_CLOSE, square)
    smoothed = postprocess.smooth(BitMask.from_array(image), radius=radius)
    assert smoothed == BitMask.from_array(expected)


@pytest.mark.parametrize("radius", [0, 64, -1])
def test_smoothing_has_limits(radius: int) -> None:
    """A radius that is not 1 to 63 is refused."""
    with pytest.raises(MaskError, match=f"radius of {radius}"):
        postprocess.smooth(BitMask.zeros(5, 5), radius=radius)


def test_steps_are_done_in_the_recipes_order() -> None:
    """A recipe's steps act one after the other: holes first, then what is still small goes."""
    image = squares(5, 3)
    image[3, 3] = 0  # a hole that makes the larger one smaller than 25
    mask = BitMask.from_array(image)
    recipe = steps("fill_holes", {"remove_small": {"min_area": 25}})
    assert postprocess.apply_steps(mask, recipe) == BitMask.from_array(
        np.where(np.arange(image.shape[1]) < 7, squares(5, 3), 0)
    )
    assert postprocess.apply_steps(mask, recipe[::-1]).area == 0


def test_every_step_can_be_listed() -> None:
    """Each named step runs from a recipe and is the function of its name."""
    mask = BitMask.from_array(squares(6, 4, 2))
    for written, expected in (
        ({"remove_small": {"min_area": 16, "keep": ">"}}, squares(6, 4, 2).sum() - 20),
        ({"fill_holes": {"max_area": 3}}, 56),
        ({"keep_largest": {"n": 2}}, 52),
        ("remove_touching_border", 56),
        ({"smooth": {"radius": 1}}, None),
        ({"crf": {"sigma": 1}}, None),
    ):
        result = postprocess.apply_steps(mask, steps(written))
        assert expected is None or result.area == expected
    assert {
        "remove_small",
        "fill_holes",
        "keep_largest",
        "remove_touching_border",
        "smooth",
        "crf",
    } == set(postprocess.STEPS)


def test_a_list_has_a_value_per_class() -> None:
    """Clouds' minimum areas differ by class. The mask of class number i gets value number i."""
    recipe = steps({"remove_small": {"min_area": [30, 10], "keep": ">"}})
    mask = BitMask.from_array(squares(6, 4))
    assert postprocess.apply_steps(mask, recipe, label=0).area == 36
    assert postprocess.apply_steps(mask, recipe, label=1).area == 52


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ("remove_smal", r"no step 'remove_smal'\. Did you mean remove_small\?"),
        ("apply_steps", "There are remove_small, fill_holes"),
        (
            "remove_small",
            r"required keyword-only argument: 'min_area'\. It takes min_area",
        ),
        ({"fill_holes": {"area": 3}}, "unexpected keyword argument 'area'"),
        ({"remove_small": {"min_area": [1, 2]}}, "min_area has 2 values"),
        ({"remove_small": {"min_area": "14000"}}, "remove_small does not take min_area: 14000"),
        ({"remove_small": {"min_area": 3, "keep": "=>"}}, "remove_small does not take"),
        ({"fill_holes": {"connectivity": 6}}, "fill_holes does not take connectivity: 6"),
        ({"smooth": {"radius": 100}}, "smooth does not take radius: 100"),
        ({"smooth": {"radius": 2.5}}, "smooth does not take radius: 2.5"),
        ({"keep_largest": {"n": 0}}, "keep_largest does not take n: 0"),
    ],
)
def test_a_wrong_step_is_refused_before_any_model_runs(written: object, complaint: str) -> None:
    """A misspelt step or argument, or too few values, is a message that names the right ones."""
    with pytest.raises(RecipeError, match=complaint):
        postprocess.check_steps(steps(written), classes=3)


def test_right_steps_pass_the_check() -> None:
    """A recipe whose lists have a value for each class is accepted."""
    postprocess.check_steps(
        steps({"remove_small": {"min_area": [1, 2, 3]}}, "fill_holes"), classes=3
    )
