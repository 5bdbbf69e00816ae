"""What is done with finished masks, as small named steps that a recipe lists.

A recipe writes a step as its function's name and arguments:

    postprocess:
      - remove_small: {min_area: [14000, 10000, 14000, 10000], keep: ">"}
      - fill_holes: {max_area: 500}

A list has one value per class. Areas are in pixels of the mask.

A step is a function of a mask and of named arguments. The recipe gives those, but for three: a
parameter `probabilities`, `image` or `label` gets what stands behind the mask. A module of one's
own may have further steps. Each public function of it is one:

    def sure(mask: BitMask, *, probabilities: NDArray, above: float) -> BitMask:
        return mask & BitMask.from_array(probabilities, above)
"""

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kernelkit.errors import MaskError, RecipeError, as_sentence, kind_of
from kernelkit.mask import BitMask, morphology
from kernelkit.predict.hand_in.crf import crf
from kernelkit.predict.hand_in.seen import Asked, Seen, asked_of
from kernelkit.recipe import PostprocessStep
from kernelkit.vocabulary import Connectivity, Keep

__all__ = [
    "STEPS",
    "Seen",
    "Steps",
    "apply_steps",
    "asked",
    "check_steps",
    "crf",
    "fill_holes",
    "keep_largest",
    "remove_small",
    "remove_touching_border",
    "smooth",
    "threshold",
]

# Steps by the names that recipes call them.
Steps = Mapping[str, Callable[..., BitMask]]

_LARGEST_RADIUS = 63


def threshold(probabilities: ArrayLike, above: float) -> BitMask:
    """The pixels of (height, width) whose probability is above a threshold on the array's scale.

    For uint8 probabilities that scale is 0-255.
    """
    return BitMask.from_array(probabilities, above)


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
STEPS: Steps = {
    step.__name__: step
    for step in (remove_small, fill_holes, keep_largest, remove_touching_border, smooth, crf)
}


def apply_steps(
    mask: BitMask,
    steps: Sequence[PostprocessStep],
    label: int = 0,
    seen: Seen | None = None,
    known: Steps = STEPS,
) -> BitMask:
    """Do a recipe's steps one after the other with the mask of class number `label`.

    Parameters
    ----------
    seen
        The probabilities and the image behind the mask, for the steps that ask for them.
    known
        The steps that there are, by name.

    Raises
    ------
    MaskError
        A step gives no mask of the same size, or asks for what is not there.
    """
    seen = seen or Seen()
    for step in steps:
        found = _find(step, label, known)
        mask = found.applied(mask, seen)
    return mask


def asked(steps: Sequence[PostprocessStep], known: Steps = STEPS) -> frozenset[Asked]:
    """What the steps of a recipe ask for beside the masks."""
    none: frozenset[Asked] = frozenset()
    return none.union(*(asked_of(known[step.step]) for step in steps if step.step in known))


def check_steps(
    steps: Sequence[PostprocessStep],
    classes: int = 1,
    known: Steps = STEPS,
    *,
    bands: int = 3,
    dtype: str = "uint8",
    has_probabilities: bool = True,
) -> None:
    """Raise `RecipeError` for a step that `apply_steps` could not do for each of the classes.

    Each is done once, with a mask that has a hole and two components. It sees probabilities of that
    mask, and an image of `bands` of `dtype`. If only masks are going to be stored, there are no
    probabilities.
    """
    pixels = np.zeros((5, 9), np.uint8)
    pixels[1:4, 1:4] = pixels[2, 6] = 1
    pixels[2, 2] = 0
    probabilities = (lambda _: 255 * pixels) if has_probabilities else None
    seen = Seen(probabilities, lambda: np.stack([pixels.astype(dtype)] * bands))
    for step in steps:
        for label in range(classes):
            found = _find(step, label, known)
            try:
                found.applied(BitMask.from_array(pixels), seen)
            except Exception as error:  # a step of the user's own may raise anything
                given = ", ".join(f"{name}: {value}" for name, value in found.arguments.items())
                raise RecipeError(
                    f"postprocess: {step.step} does not take {given or 'a small mask'} "
                    f"({as_sentence(error)}). Correct it in the recipe"
                ) from error


@dataclass(frozen=True, slots=True)
class _Step:
    """A step with its arguments, for the masks of one class."""

    function: Callable[..., BitMask]
    arguments: dict[str, Any]
    label: int

    def applied(self, mask: BitMask, seen: Seen) -> BitMask:
        """The mask after the step. The step gets what it asks for beside its arguments."""
        given: dict[str, Any] = {}
        asked_for = asked_of(self.function)
        if "label" in asked_for:
            given["label"] = self.label
        if "probabilities" in asked_for:
            given["probabilities"] = seen.probabilities(self.label)
        if "image" in asked_for:
            given["image"] = seen.image()
        result = self.function(mask, **self.arguments, **given)
        if not isinstance(result, BitMask) or result.shape != mask.shape:
            shape = getattr(result, "shape", "none")
            raise MaskError(
                f"the step {self.function.__name__} gave {kind_of(result)} and shape {shape}, "
                f"wanted a BitMask of {mask.height} x {mask.width}. Return BitMask.from_array(...)"
            )
        return result


def _find(step: PostprocessStep, label: int, known: Steps) -> _Step:
    function = known.get(step.step)
    if function is None:
        close = difflib.get_close_matches(step.step, known, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise RecipeError(
            f"postprocess: there is no step {step.step!r}.{hint} There are {', '.join(known)}"
        )
    arguments = {
        name: _for_class(step.step, name, value, label) for name, value in step.arguments.items()
    }
    beside = asked_of(function)
    if given := beside & arguments.keys():
        raise RecipeError(
            f"postprocess: {step.step} gets {', '.join(sorted(given))} from the run. "
            "Leave it out of the recipe"
        )
    signature = _signature(function)
    try:
        signature.bind(None, **arguments, **dict.fromkeys(beside))
    except TypeError as error:
        takes = [name for name in list(signature.parameters)[1:] if name not in beside]
        raise RecipeError(
            f"postprocess: {step.step}: {error}. It takes {', '.join(takes) or 'no argument'}"
        ) from None
    return _Step(function, arguments, label)


@cache  # to read one takes longer than most steps
def _signature(function: Callable[..., BitMask]) -> inspect.Signature:
    return inspect.signature(function)


def _for_class(step: str, name: str, value: Any, label: int) -> Any:
    if not isinstance(value, list | tuple):
        return value
    if label >= len(value):
        raise RecipeError(
            f"postprocess: {step}: {name} has {len(value)} values and there is a class number "
            f"{label}. Give one value for all classes, or one for each"
        )
    return value[label]
