"""Postprocess steps of the user's own, and what a step may see beside the mask."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from kernelkit.errors import KernelKitError, MaskError, OwnCodeError, RecipeError
from kernelkit.mask import BitMask
from kernelkit.predict.hand_in.own_steps import known_steps
from kernelkit.predict.hand_in.postprocess import STEPS, apply_steps, asked, check_steps
from kernelkit.predict.hand_in.seen import Seen
from kernelkit.recipe import PostprocessStep

STEPS_OF_MY_OWN = '''
import numpy as np
from kernelkit.mask import BitMask
from mysteps_test.more import darker

def sure(mask, *, probabilities, above):
    """Of the mask, what the networks are sure of."""
    return mask & BitMask.from_array(probabilities, above)

def named(mask, *, label, wanted):
    """The mask of one class, and nothing of the others."""
    return mask if label == wanted else BitMask.zeros(*mask.shape)

def as_array(mask):
    return mask.to_array()

def larger(mask):
    return BitMask.zeros(mask.height + 1, mask.width)

def breaks(mask):
    return {}["key"]

def _private(mask):
    return mask
'''
MORE = """
from kernelkit.mask import BitMask

def darker(mask, *, image, than):
    assert image.shape[1:] == mask.shape
    return mask & BitMask.from_array((image < than).all(0))
"""
MASK = BitMask.from_array(np.ones((2, 3), np.uint8))


def steps(*written: object) -> list[PostprocessStep]:
    return [PostprocessStep.model_validate(step) for step in written]


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package of one's own, which is forgotten afterwards."""
    package = tmp_path / "mysteps_test"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "salt.py").write_text(STEPS_OF_MY_OWN)
    (package / "more.py").write_text(MORE)
    (package / "none.py").write_text("LIMIT = 3\n")
    (package / "hides.py").write_text("def crf(mask):\n    return mask\n")
    monkeypatch.setenv("KERNELKIT_OWN", str(tmp_path))
    monkeypatch.setattr(sys, "path", sys.path.copy())
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "mysteps_test"]:
        del sys.modules[name]


def test_the_public_functions_of_a_module_are_steps() -> None:
    """They stand beside kernelkit's own, also those that the module takes from its package."""
    known = known_steps("mysteps_test.salt")
    assert known.keys() - STEPS.keys() == {
        "sure",
        "named",
        "darker",
        "as_array",
        "larger",
        "breaks",
    }
    assert known_steps(None) is STEPS


def test_a_step_sees_probabilities_image_and_label() -> None:
    """Each is given by its parameter's name: of its own class, and at the mask's size."""
    probabilities = np.array([[[0, 90, 200], [200, 90, 0]], [[0, 0, 0], [0, 0, 255]]], np.uint8)
    image = np.arange(6, dtype=np.uint16).reshape(1, 2, 3)
    seen = Seen(lambda label: probabilities[label], lambda: image)
    recipe = steps({"sure": {"above": [80, 250]}}, {"darker": {"than": 5}})
    known = known_steps("mysteps_test.salt")
    first = apply_steps(MASK, recipe, 0, seen, known).to_array()
    assert first.tolist() == [[0, 1, 1], [1, 1, 0]]
    assert apply_steps(MASK, recipe, 1, seen, known).area == 0
    only_second = steps({"named": {"wanted": 1}})
    assert [apply_steps(MASK, only_second, n, known=known).area for n in (0, 1)] == [0, 6]


def test_only_what_a_step_asks_for_is_loaded() -> None:
    """Two steps that look at the image read it once, and nobody loads probabilities."""
    reads = []

    def image() -> np.ndarray:
        reads.append("image")
        return np.zeros((1, 2, 3), np.uint8)

    def probabilities(_: int) -> np.ndarray:
        raise AssertionError("nobody asked for them")

    known = known_steps("mysteps_test.salt")
    recipe = steps("fill_holes", {"darker": {"than": 5}}, {"darker": {"than": 1}})
    seen = Seen(probabilities, image)
    assert apply_steps(MASK, recipe, 0, seen, known) == MASK
    assert reads == ["image"]
    assert apply_steps(MASK, steps("fill_holes"), seen=seen) == MASK


def test_what_the_steps_of_a_recipe_ask_for_is_known_before_they_run() -> None:
    """So the store can be told to keep probabilities."""
    known = known_steps("mysteps_test.salt")
    assert asked(steps("fill_holes", {"crf": {}}), known) == set()
    assert asked(steps({"sure": {"above": 1}}, {"darker": {"than": 1}}), known) == {
        "probabilities",
        "image",
    }


@pytest.mark.parametrize("bands", [1, 4])
def test_own_steps_are_checked_with_a_small_mask(bands: int) -> None:
    """With probabilities and an image of as many bands as there will be, for each class."""
    recipe = steps({"sure": {"above": [80, 250]}}, {"darker": {"than": 5}}, "fill_holes")
    known = known_steps("mysteps_test.salt")
    check_steps(recipe, classes=2, known=known, bands=bands, dtype="float32")


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ("sure", r"required .*argument: 'above'\. It takes above"),
        ({"sure": {"above": 1, "probabilities": 2}}, "sure gets probabilities from the run"),
        ({"named": {"label": 1}}, "named gets label from the run"),
        ({"sure": {"above": "high"}}, "sure does not take above: high"),
        ("as_array", r"gave a value of type ndarray and shape \(5, 9\), wanted a BitMask of 5 x 9"),
        ("larger", r"gave a value of type BitMask and shape \(6, 9\), wanted a BitMask of 5 x 9"),
        ("breaks", "breaks does not take a small mask .KeyError: 'key'"),
        ("_private", "no step '_private'"),
        ("surely", "Did you mean sure"),
    ],
)
def test_a_wrong_step_of_ones_own_is_refused_first(written: object, complaint: str) -> None:
    """What it raises or returns stands in one sentence, before any model runs."""
    with pytest.raises(RecipeError, match=complaint):
        check_steps(steps(written), classes=2, known=known_steps("mysteps_test.salt"))


def test_a_step_that_asks_for_what_is_not_stored_is_refused_first() -> None:
    """Of a store of masks no probabilities can be had, and the message says what to write."""
    known = known_steps("mysteps_test.salt")
    check_steps(steps({"darker": {"than": 1}}), known=known, has_probabilities=False)
    with pytest.raises(RecipeError, match="but only masks are stored. Write 'store: {what: prob"):
        check_steps(steps({"sure": {"above": 1}}), known=known, has_probabilities=False)


@pytest.mark.parametrize(
    ("module", "error", "complaint"),
    [
        ("mysteps_test.none", RecipeError, "mysteps_test.none has no step. Define a function"),
        ("mysteps_test.hides", RecipeError, "has crf, which would hide kernelkit's"),
        ("mysteps_test.salt:sure", RecipeError, "wanted a module, without ':'"),
        ("mysteps_test.gone", OwnCodeError, "there is no such module"),
        ("os", OwnCodeError, "os is no code of your own"),
    ],
)
def test_a_module_without_steps_is_refused(
    module: str, error: type[KernelKitError], complaint: str
) -> None:
    """A module that is not there, has no function, or hides a step of kernelkit's."""
    with pytest.raises(error, match=complaint):
        known_steps(module)


@pytest.mark.parametrize("step", [{"sure": {"above": 1}}, {"darker": {"than": 1}}])
def test_what_is_not_there_is_said(step: object) -> None:
    """A step that asks for what the store or the disk lacks says what to do."""
    with pytest.raises(MaskError, match=r"but .*(only masks are stored|no image files)"):
        apply_steps(MASK, steps(step), known=known_steps("mysteps_test.salt"))
