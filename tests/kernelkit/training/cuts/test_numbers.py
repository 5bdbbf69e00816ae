"""What is counted in a window, against numpy, and which windows are blank."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelkit.grid import Window
from kernelkit.training.cuts.blank import in_words, is_blank, why_skipped
from kernelkit.training.cuts.image import CutImage
from kernelkit.training.cuts.numbers import WindowNumbers, count
from kernelkit.training.recipe import BlankRule
from tests.made.crops import cut_image
from tests.made.cut_competition import CutCompetition


def image_of(
    folder: Path, dtype: str, classes: int, holds_all: bool
) -> tuple[CutImage, Any, Any, Any]:
    random = np.random.default_rng(3)
    pixels = random.integers(0, 120, (3, 40, 50)).astype(dtype)
    labels = random.integers(0, 256, (classes, 40, 50)).astype(np.uint8)
    held = None if holds_all else random.random((40, 50)) > 0.3
    return cut_image(folder, "a", pixels, labels, held), pixels, labels, held


@settings(max_examples=40)
@given(
    dtype=st.sampled_from(["uint8", "uint16", "int16", "float32", "int32"]),
    classes=st.integers(1, 3),
    holds_all=st.booleans(),
    corner=st.tuples(st.integers(0, 20), st.integers(0, 20)),
)
def test_numbers_equal_numpys(
    dtype: str,
    classes: int,
    holds_all: bool,
    corner: tuple[int, int],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Mean, spread and shares are those of the pixels with data, in any dtype."""
    folder = tmp_path_factory.mktemp("numbers")
    image, pixels, labels, held = image_of(folder, dtype, classes, holds_all)
    window = Window(*corner, 17, 23)
    found = count(image, window, [30.0, 60.0])
    values = pixels[:, *window.slices].astype(np.float64)
    there = np.ones((17, 23), bool) if held is None else held[window.slices]
    shares = labels[:, *window.slices] / 255
    assert found.class_shares == pytest.approx(tuple(shares.mean(axis=(1, 2))))
    assert found.target_share == pytest.approx(shares.max(axis=0).mean())
    assert found.held_share == pytest.approx(there.mean())
    assert found.mean == pytest.approx(values[:, there].mean())
    assert found.std == pytest.approx(values[:, there].std())
    for limit, share in found.dark_shares.items():
        assert share == pytest.approx((values.mean(axis=0)[there] < limit).mean())


# A rule, the numbers of a window, and whether it is blank.
RULES: list[tuple[dict[str, float], tuple[float, float, float], bool]] = [
    ({"mean_below": 10}, (9, 50, 0), True),
    ({"mean_below": 10}, (10, 50, 0), False),
    ({"mean_above": 205, "std_below": 20}, (206, 19, 0), True),
    ({"mean_above": 205, "std_below": 20}, (206, 20, 0), False),
    ({"mean_above": 205, "std_below": 20}, (205, 19, 0), False),
    ({"dark": 10, "share_above": 0.1}, (99, 50, 0.11), True),
    ({"dark": 10, "share_above": 0.1}, (99, 50, 0.1), False),
    ({"mean_below": 0}, (-1, 5, 0), True),
]


@pytest.mark.parametrize(("keys", "numbers", "wanted"), RULES)
def test_a_rule_holds_if_all_its_limits_do(
    keys: dict[str, float], numbers: tuple[float, float, float], wanted: bool
) -> None:
    """Limits themselves are not blank."""
    mean, std, dark = numbers
    found = WindowNumbers((0.0,), 0.0, 1.0, mean, std, {10: dark})
    assert is_blank(BlankRule.model_validate(keys), found) == wanted


def test_so_many_blank_windows_are_dropped_as_drop_says() -> None:
    """Of ten thousand, 95 in 100, and the same ones with the same seed."""
    rule = BlankRule(mean_below=10, drop=0.95)
    dark = WindowNumbers((0.0,), 0.0, 1.0, 0.0, 0.0)

    def dropped(seed: int) -> list[bool]:
        return [bool(why_skipped(dark, [rule], seed, "grid", "a", row)) for row in range(10_000)]

    assert sum(dropped(0)) == pytest.approx(9500, abs=90)
    assert dropped(0) == dropped(0) != dropped(1)


def test_rules_judge_the_windows_that_they_name() -> None:
    """Others stay, however blank they are. Without any data none stays."""
    rule = BlankRule(mean_above=205, std_below=20, windows=("grid",))
    white = WindowNumbers((0.0,), 0.0, 1.0, 230.0, 3.0)
    assert why_skipped(white, [rule], 0, "grid") == "mean above 205 and std below 20"
    assert why_skipped(white, [rule], 0, "objects") == ""
    nothing = WindowNumbers((0.0,), 0.0, 0.0, 0.0, 0.0)
    assert why_skipped(nothing, [], 0, "objects") == "no data"


def test_a_rule_is_said_in_words() -> None:
    """The reason names each limit."""
    assert in_words(BlankRule(dark=10, share_above=0.1)) == "more than 10% below 10"
    assert in_words(BlankRule(mean_below=10)) == "mean below 10"


def test_the_table_has_a_share_per_class(tmp_path: Path) -> None:
    """With several classes each has its column, beside the share of any."""
    made = CutCompetition(tmp_path, {"a": (90, 90), "b": (90, 90)})
    for name in ("cat", "dog"):
        (made.folder / f"masks/{name}").mkdir()
        for image in ("a", "b"):
            made.write_mask(f"{name}/{image}", np.full((90, 90), 255 * (name == "dog"), np.uint8))
    cuts = made.make(
        tiles={"core": 64},
        competition={"classes": ["cat", "dog"], "rows": "{image}_{class}"},
        labels={"masks": "masks/{class}/{image}.png"},
    )
    inside = cuts.windows.query("row == 0 and col == 0")
    assert inside[["target_share", "share_cat", "share_dog"]].to_numpy().tolist() == [
        [1.0, 0.0, 1.0],
        [1.0, 0.0, 1.0],
    ]
    assert any("the class cat never occurs" in note for note in cuts.notes)
