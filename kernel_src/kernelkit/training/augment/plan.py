"""What a recipe's `augment` comes to: which steps a crop gets, and by which random numbers.

Steps that move pixels are done by the workers that read crops. All others are done on the device,
in two stages. The first works on the source's values, before bands are chosen and normalised. Most
of its steps need values from 0 to 1, which only integers have. The second works on normalised
values, whatever the source was. Within a stage the recipe's order holds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from kernelkit.errors import TrainingError

if TYPE_CHECKING:
    from kernelkit.recipe import NetworkInput
    from kernelkit.training.recipe.augment import AugmentStep

__all__ = ["CROP_DRAWS", "Leaf", "Plan", "plan_of"]

Stage = Literal["moves", "source", "normalised"]

# The first random numbers of a crop say where in its window it lies.
CROP_DRAWS = 3


class _Kind(NamedTuple):
    """What is known of a step by its name.

    Attributes
    ----------
    stage
        Who does it.
    draws
        How many random numbers it needs, given the bands of the source and of the network.
    needs
        "unit": integers. "rgb": integers of three bands. "bytes": the same, of 8 bits.
    """

    stage: Stage
    draws: Callable[[Mapping[str, Any], int, int], int]
    needs: Literal["", "unit", "rgb", "bytes"] = ""


def _always(number: int) -> Callable[[Mapping[str, Any], int, int], int]:
    return lambda _values, _source, _network: number


_KINDS = {
    "d4": _Kind("moves", _always(1)),
    "flip": _Kind("moves", _always(2)),
    "rotate90": _Kind("moves", _always(1)),
    "affine": _Kind("moves", _always(4)),
    "crop_resize": _Kind("moves", _always(3)),
    "two_gamma": _Kind("source", _always(2), "unit"),
    "stain": _Kind("source", _always(4), "rgb"),
    "hsv": _Kind("source", _always(3), "rgb"),
    "clahe": _Kind("source", _always(1), "bytes"),
    "brightness_contrast": _Kind("source", _always(2), "unit"),
    "channel_shuffle": _Kind("source", lambda _values, source, _network: source),
    "recolour": _Kind("normalised", lambda _values, _source, network: 2 * (1 + network)),
    "cutout": _Kind("normalised", lambda values, _source, _network: 1 + 4 * values["holes"]),
    "blur": _Kind("normalised", _always(1)),
    "noise": _Kind("normalised", _always(2)),
}


@dataclass(frozen=True, slots=True)
class Leaf:
    """One step, and the crops that get it.

    Attributes
    ----------
    name, values
        The step, and what its section of the recipe says.
    group
        Which random number decides whether it is done. The steps of one `one_of` share it.
    least, below
        It is done if that number lies between these.
    start, stop
        Its own random numbers.
    """

    name: str
    values: Mapping[str, Any]
    group: int
    least: float
    below: float
    start: int
    stop: int

    @property
    def stage(self) -> Stage:
        """Who does it."""
        return _KINDS[self.name].stage

    def chosen(self, draws: np.ndarray) -> np.ndarray:
        """Which crops get it, bool, of the random numbers (..., D) of crops."""
        number = draws[..., self.group]
        return (self.least <= number) & (number < self.below)

    def numbers[T](self, draws: T) -> T:
        """Its own random numbers (..., n), of those (..., D) of crops."""
        return draws[..., self.start : self.stop]  # type: ignore[index]


@dataclass(frozen=True)
class Plan:
    """All steps of a recipe.

    Attributes
    ----------
    leaves
        In the order of the recipe.
    draws
        How many random numbers a crop needs.
    """

    leaves: tuple[Leaf, ...]
    draws: int

    @cached_property
    def moves(self) -> tuple[Leaf, ...]:
        """Those that move pixels."""
        return self.of("moves")

    def of(self, stage: Stage) -> tuple[Leaf, ...]:
        """Those of a stage."""
        return tuple(leaf for leaf in self.leaves if leaf.stage == stage)

    def check(self, bands: int, dtype: np.dtype, wanted: "NetworkInput") -> None:
        """Refuse steps that the images cannot have.

        Raises
        ------
        TrainingError
            A step needs another number of bands, or another dtype.
        """
        for leaf in self.leaves:
            needs = _KINDS[leaf.name].needs
            found = f"augment: found {leaf.name} with {bands} bands of {dtype}"
            others = "Leave it out, or take recolour, which works on normalised values"
            if needs == "bytes" and (dtype != np.uint8 or bands != 3):
                raise TrainingError(f"{found}, wanted RGB of uint8. {others}")
            if needs == "rgb" and (dtype.kind not in "ui" or bands != 3):
                raise TrainingError(f"{found}, wanted three bands of integers. {others}")
            if needs and (dtype.kind not in "ui" or wanted.decibel or wanted.minmax):
                raise TrainingError(
                    f"{found}, wanted integers without decibel and minmax, since it works on "
                    f"values from 0 to 1. {others}"
                )


def plan_of(augment: "Sequence[AugmentStep]", source_bands: int, network_bands: int) -> Plan:
    """Plan a recipe's `augment`.

    Parameters
    ----------
    augment
        The steps, as `RunRecipe.augment` has them.
    source_bands, network_bands
        How many bands the images have, and the networks' input.
    """
    groups = [_choices(each) for each in augment]
    start = CROP_DRAWS + len(groups)
    leaves = []
    for number, choices in enumerate(groups):
        for name, step, least, below in choices:
            values = step.model_dump()
            stop = start + _KINDS[name].draws(values, source_bands, network_bands)
            leaves.append(Leaf(name, values, CROP_DRAWS + number, least, below, start, stop))
            start = stop
    return Plan(tuple(leaves), start)


def _choices(given: "AugmentStep") -> list[tuple[str, Any, float, float]]:
    """The step, or the steps that it chooses from, each with its part of the interval to 1."""
    if given.name != "one_of":
        return [(given.name, given.step, 0.0, given.step.p)]
    chance, parts = given.step.p, given.step.of
    width = chance / len(parts)
    return [
        (name, step, index * width + least * width, index * width + below * width)
        for index, part in enumerate(parts)
        for name, step, least, below in _choices(part)
    ]
