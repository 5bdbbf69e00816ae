"""Expressions of bands: a small language that is checked and never run as Python."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelkit.recipe import NetworkInput
from kernelkit.recipe.bands import BandExpression, checked_band

numbers = st.floats(0.1, 100).map(lambda number: f"{number:.3g}")
bands = st.integers(1, 4).map(lambda number: f"b{number}")


def _larger(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pairs = st.tuples(parts, st.sampled_from("+-*"), parts).map(" ".join)
    return pairs.map("({})".format) | parts.map("abs({})".format) | parts.map("-{}".format)


expressions = st.recursive(bands, _larger, max_leaves=8).filter(lambda text: len(text) <= 200)


@given(expressions, numbers)
def test_an_expression_is_what_python_makes_of_it(text: str, number: str) -> None:
    """Operators have Python's order and brackets."""
    text = f"{text} / {number}" if len(text) < 180 else text
    values = {1: 2.0, 2: -3.0, 3: 0.5, 4: 7.25}
    names = {f"b{key}": value for key, value in values.items()}
    expected = eval(text, {"abs": abs}, names)
    assert BandExpression.parse(text).value(values.__getitem__) == expected


def test_functions_are_those_of_mathematics() -> None:
    """The logarithm is the natural one."""
    value = BandExpression.parse("log(b1) + sqrt(b2)").value({1: 10.0, 2: 9.0}.__getitem__)
    assert value == math.log(10) + 3


def test_a_plain_band_is_its_number() -> None:
    """`b2` and 2 are the same band, so a recipe written either way is the same."""
    assert NetworkInput(bands=("b2", 1, "b3")).bands == (2, 1, 3)


def test_all_bands_of_expressions_are_needed() -> None:
    """The image must have the highest band that any expression names."""
    wanted = NetworkInput(bands=(1, "b2 * b5", "b3"))
    assert (wanted.image_bands, wanted.highest_band) == ({1, 2, 3, 5}, 5)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("b0", "b0 is no band"),
        ("vh", "vh is no band"),
        ("b1 ** 2", "'b1 [*]{2} 2' is not allowed"),
        ("b1 +", "invalid syntax"),
        ("__import__('os').system('true')", "is not allowed"),
        ("b1.real", "'b1.real' is not allowed"),
        ("b1[0]", "'b1\\[0\\]' is not allowed"),
        ("exp(b1)", "'exp\\(b1\\)' is not allowed"),
        ("log(b1, b2)", "is not allowed"),
        ("True * b1", "'True' is not allowed"),
        ("1e999 * b1", "inf is no finite number"),
        ("b1 / (2 - 2)", "it divides by 0"),
        ("log(2) * b1", "log of a number"),
        ("(" * 250, "longer than 200 characters"),
        ("4 / 2", "which names none"),
        ("", "invalid syntax"),
        ("lambda: b1", "is not allowed"),
        ("b1 if b1 else b2", "is not allowed"),
    ],
)
def test_what_is_no_expression_is_refused(text: str, reason: str) -> None:
    """The message shows what was found, and why it is none."""
    with pytest.raises(ValueError, match=f"found .*{reason}"):
        checked_band(text)
