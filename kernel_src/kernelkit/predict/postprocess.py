"""What is done with finished masks, as small named steps that a recipe lists.

A recipe writes a step as its function's name and arguments:

    postprocess:
      - remove_small: {min_area: [14000, 10000, 14000, 10000], keep: ">"}
      - fill_holes: {max_area: 500}

A list has one value per class. Areas are in pixels of the mask.
"""

import difflib
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kernelkit.errors import KernelKitError, MaskError, RecipeError, as_sentence
from kernelkit.mask import BitMask, morphology
from kernelkit.recipe import PostprocessStep
from kernelkit.vocabulary import Connectivity, Keep

__all__ = [
    "STEPS",
    "apply_steps",
    "check_steps",
    "fill_holes",
    "keep_largest",
    "remove_small",
    "remove_touching_border",
    "smooth",
    "threshold",
    "vote",
]

_ROWS_AT_ONCE = 256
_LARGEST_RADIUS = 63


def threshold(probabilities: ArrayLike, above: float) -> BitMask:
    """The pixels of (height, width) whose probability is above a threshold on the array's scale.

    For uint8 probabilities that scale is 0-255.
    """
    return BitMask.from_array(probabilities, above)


def vote(masks: Sequence[BitMask], at_least: int) -> BitMask:
    """The pixels that are on in at least that many of several masks of one size.

    "All but one" of n masks is `at_least=n - 1`. For one mask that would be every pixel.

    Raises
    ------
    MaskError
        Fewer votes than 1 or more than there are masks are asked for, or the sizes differ.
    """
    if not 1 <= at_least <= len(masks):
        raise MaskError(
            f"at least {at_least} of {len(masks)} masks were to agree. "
            f"Ask for 1 to {len(masks)} of them"
        )
    result = BitMask.zeros(*masks[0].shape)
    if different := [mask.shape for mask in masks if mask.shape != result.shape]:
        raise MaskError(
            f"masks of {result.shape} and {different[0]} pixels were to vote. "
            "All must be of one size"
        )
    for top in range(0, result.height, _ROWS_AT_ONCE):
        rows = slice(top, top + _ROWS_AT_ONCE)
        result.words[rows] = _count_reaches([mask.words[rows] for mask in masks], at_least)
    return result


def remove_small(
    mask: BitMask, *, min_area: int, keep: Keep = ">=", connectivity: Connectivity = 8
) -> BitMask:
    """Keep components of at least, or with `keep=">"` of more than, `min_area` pixels."""
    return mask.remove_small(min_area, keep, connectivity)


def fill_holes(
    mask: BitMask, *, max_area: int | None = None, connectivity: Connectivity = 8
) -> BitMask:
    """Fill holes of at most `max_area` pixels. Without it, all are filled."""
    return mask.fill_holes(max_area, connectivity)


def keep_largest(mask: BitMask, *, n: int = 1, connectivity: Connectivity = 8) -> BitMask:
    """Keep the `n` largest components."""
    if n < 1:
        raise MaskError(f"the {n} largest components were asked for. Ask for at least 1")
    return mask.keep_largest(n, connectivity)


def remove_touching_border(mask: BitMask, *, connectivity: Connectivity = 8) -> BitMask:
    """Remove components that touch the mask's border."""
    return mask.remove_touching_border(connectivity)


def smooth(mask: BitMask, *, radius: int) -> BitMask:
    """Remove what is narrower than 2 `radius` + 1 pixels, then fill gaps that are.

    This is an opening, then a closing, by a square.
    """
    if not 1 <= radius <= _LARGEST_RADIUS:
        raise MaskError(
            f"smoothing by a radius of {radius} pixels was asked for. "
            f"It can be 1 to {_LARGEST_RADIUS}"
        )
    opened = morphology.opening(mask.words, mask.width, radius)
    return BitMask(morphology.closing(opened, mask.width, radius), mask.width)


# What a recipe can list: functions of one mask and of named arguments.
STEPS: dict[str, Callable[..., BitMask]] = {
    step.__name__: step
    for step in (remove_small, fill_holes, keep_largest, remove_touching_border, smooth)
}


def apply_steps(mask: BitMask, steps: Sequence[PostprocessStep], label: int = 0) -> BitMask:
    """Do a recipe's steps one after the other with the mask of class number `label`."""
    for step in steps:
        function, arguments = _find(step, label)
        mask = function(mask, **arguments)
    return mask


def check_steps(steps: Sequence[PostprocessStep], classes: int = 1) -> None:
    """Raise `RecipeError` for a step that `apply_steps` could not do for each of the classes.

    Each is done once, with a mask that has a hole and two components.
    """
    pixels = np.zeros((5, 9), np.uint8)
    pixels[1:4, 1:4] = pixels[2, 6] = 1
    pixels[2, 2] = 0
    for step in steps:
        for label in range(classes):
            function, arguments = _find(step, label)
            try:
                function(BitMask.from_array(pixels), **arguments)
            except (KernelKitError, TypeError, ValueError) as error:
                given = ", ".join(f"{name}: {value}" for name, value in arguments.items())
                raise RecipeError(
                    f"postprocess: {step.step} does not take {given} ({as_sentence(error)}). "
                    "Correct it in the recipe"
                ) from error


def _find(step: PostprocessStep, label: int) -> tuple[Callable[..., BitMask], dict[str, Any]]:
    function = STEPS.get(step.step)
    if function is None:
        close = difflib.get_close_matches(step.step, STEPS, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise RecipeError(
            f"postprocess: there is no step {step.step!r}.{hint} There are {', '.join(STEPS)}"
        )
    arguments = {
        name: _for_class(step.step, name, value, label) for name, value in step.arguments.items()
    }
    try:
        inspect.signature(function).bind(None, **arguments)
    except TypeError as error:
        known = list(inspect.signature(function).parameters)[1:]
        raise RecipeError(
            f"postprocess: {step.step}: {error}. It takes {', '.join(known)}"
        ) from None
    return function, arguments


def _for_class(step: str, name: str, value: Any, label: int) -> Any:
    if not isinstance(value, list | tuple):
        return value
    if label >= len(value):
        raise RecipeError(
            f"postprocess: {step}: {name} has {len(value)} values and there is a class number "
            f"{label}. Give one value for all classes, or one for each"
        )
    return value[label]


def _count_reaches(masks: Sequence[np.ndarray], at_least: int) -> np.ndarray:
    """Bits that are set in at least that many words. They are counted in binary, digit by digit."""
    digits: list[np.ndarray] = []
    for carry in masks:
        for place, digit in enumerate(digits):
            digits[place], carry = digit ^ carry, digit & carry
        if len(digits) < len(masks).bit_length():
            digits.append(carry)
    above = np.zeros_like(digits[0])
    equal = ~above
    for place in reversed(range(len(digits))):
        if at_least >> place & 1:
            equal &= digits[place]
        else:
            above |= equal & digits[place]
            equal &= ~digits[place]
    return above | equal
