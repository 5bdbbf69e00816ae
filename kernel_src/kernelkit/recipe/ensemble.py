"""The sections about an ensemble: its images, its models, and what follows on them."""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from kernelkit.recipe.merge import Merge
from kernelkit.recipe.network import NetworkInput
from kernelkit.recipe.section import Section
from kernelkit.recipe.words import Patterns, Word, no_doubles, overlap
from kernelkit.vocabulary import Activation, Prefer

__all__ = ["EnsembleRecipe", "Gate", "ImageKind", "PostprocessStep", "PyramidScale"]


class ImageKind(Section):
    """Which images an ensemble is for.

    Attributes
    ----------
    bands
        How many bands they have. None is any number.
    dtype
        That of their pixels. None is any.
    """

    bands: PositiveInt | None = None
    dtype: Literal["uint8", "uint16", "int16", "float32"] | None = None

    def fits(self, bands: int, dtype: str) -> bool:
        """Whether an image with `bands` bands of `dtype` is of this kind."""
        return self.bands in (None, bands) and self.dtype in (None, dtype)

    def holds(self, other: "ImageKind") -> bool:
        """Whether every image of the other kind is of this kind too."""
        return self.bands in (None, other.bands) and self.dtype in (None, other.dtype)

    def __str__(self) -> str:
        bands = "any bands" if self.bands is None else f"{self.bands} band(s)"
        return bands if self.dtype is None else f"{bands} of {self.dtype}"


class PyramidScale(Section):
    """One size at which tiles are looked at.

    Attributes
    ----------
    zoom
        How many times the tile is enlarged. Below 1 it is made smaller.
    runs
        Glob patterns of the runs that look at this size.
    weight
        The weight of this size in means and votes.
    """

    zoom: PositiveFloat = 1.0
    runs: Patterns = ("*",)
    weight: PositiveFloat = 1.0


class Gate(Section):
    """Which runs may say that a tile is empty. Its probability is then 0, and no decoder runs.

    Attributes
    ----------
    runs
        Glob patterns of runs. They are classifiers, or networks with a classification head.
    empty_class
        The class that means empty. The sigmoid of a single output is the probability of class 1.
    above
        A tile is empty if the mean probability of that class is above this.
    """

    runs: Patterns
    empty_class: NonNegativeInt = 0
    above: Annotated[float, Field(gt=0, lt=1)] = 0.5


class PostprocessStep(Section):
    """One step on a finished mask.

    Attributes
    ----------
    step
        The name of a function of `postprocess`.
    arguments
        What it is called with.
    """

    step: Word
    arguments: dict[str, Any] = Field(default={})

    @field_validator("arguments")
    @classmethod
    def _finite(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        for name, value in arguments.items():
            for each in value if isinstance(value, list | tuple) else [value]:
                if isinstance(each, float) and not math.isfinite(each):
                    raise ValueError(f"found {name} {each}, wanted a finite number")
        return arguments

    @model_validator(mode="before")
    @classmethod
    def _from_short_form(cls, value: Any) -> Any:
        # `- remove_small: {min_area: 10}`, or the bare name of a step without arguments
        if isinstance(value, str):
            return {"step": value}
        if isinstance(value, dict) and len(value) == 1 and "step" not in value:
            [(step, arguments)] = value.items()
            return {"step": step, "arguments": arguments or {}}
        return value


def _one_or_many(value: Any) -> Any:
    return (value,) if isinstance(value, int | float) else value


def _set_or_views(value: Any) -> Any:
    if isinstance(value, str) or (
        isinstance(value, list | tuple) and value and all(isinstance(v, str) for v in value)
    ):
        return value if isinstance(value, str) else no_doubles(tuple(value))
    raise ValueError(f"found {value!r:.60}, wanted the name of a set of views, or a list of views")


Probability = Annotated[float, Field(gt=0, lt=1)]
Views = Annotated[tuple[str, ...] | str, BeforeValidator(_set_or_views)]
Thresholds = Annotated[tuple[Probability, ...], BeforeValidator(_one_or_many), Field(min_length=1)]


class EnsembleRecipe(Section):
    """The models for one kind of image, how they look at it and how their answers are merged.

    Attributes
    ----------
    name
        What reports and errors call it.
    when
        The kind of image.
    runs
        Glob patterns of run folders, below the models folder.
    checkpoints
        Which checkpoints of a fold compete. "best" takes all, "ema" only averaged weights, "raw"
        only plain ones. The best of them is used.
    programs
        Whether TorchScript, torch.export and ONNX files are loaded too. They can run code, so use
        it only if you trust them.
    input
        How pixels become the network's input.
    activation
        How logits become probabilities: "sigmoid" or "softmax".
    views
        Names of TTA views, or the name of a set of them: `flips`, `hubmap`, `unosat`, `d4` or
        `rotating`.
    pyramid
        The sizes at which tiles are looked at.
    merge
        How answers become one.
    weights
        The weight in means and votes of runs (`unet*`) or members (`*/fold_0`), by pattern. All
        others weigh 1.
    gate
        Which runs may say that a tile is empty. None asks none.
    thresholds
        A pixel is on if its probability is above it. One value, or one per class.
    postprocess
        Steps on the finished mask, in their order.
    """

    name: Word
    when: ImageKind = ImageKind()
    runs: Patterns = ("*",)
    checkpoints: Prefer = "best"
    programs: bool = False
    input: NetworkInput = NetworkInput()
    activation: Activation = "sigmoid"
    views: Views = ("identity",)
    pyramid: Annotated[tuple[PyramidScale, ...], Field(min_length=1)] = (PyramidScale(),)
    merge: Merge = Merge()
    weights: dict[str, PositiveFloat] = Field(default={})
    gate: Gate | None = None
    thresholds: Thresholds = (0.5,)
    postprocess: tuple[PostprocessStep, ...] = ()

    @model_validator(mode="after")
    def _bands_are_there(self) -> Self:
        if self.when.bands is not None and max(self.input.bands) > self.when.bands:
            raise ValueError(
                f"found band {max(self.input.bands)} in input.bands, but when.bands says that"
                f" images have {self.when.bands}. Correct one of them"
            )
        return self

    @model_validator(mode="after")
    def _pyramid_uses_its_runs(self) -> Self:
        for scale in self.pyramid:
            for run in scale.runs:
                if not set("*?[") & set(run) and not overlap((run,), self.runs):
                    raise ValueError(
                        f"found {run} in a scale of the pyramid, which no pattern of runs names"
                        f" ({', '.join(self.runs)}). Add it there"
                    )
        for number, scale in enumerate(self.pyramid):
            for other in self.pyramid[:number]:
                if scale.zoom == other.zoom and overlap(scale.runs, other.runs):
                    raise ValueError(
                        f"found two scales of the pyramid at zoom {scale.zoom:g} with the same"
                        " runs, which would count twice. Use weight instead"
                    )
        return self

    def describe(self) -> str:
        """Return the ensemble in one line, from its runs to the steps on its masks."""
        views = self.views if isinstance(self.views, str) else ", ".join(self.views)
        parts = [
            f"{self.name}: runs {', '.join(self.runs)}",
            f"Views {views}, {self.merge.views}",
            f"Folds, {self.merge.folds}",
            f"Models, {self.merge.models}",
        ]
        if self.weights:
            weights = ", ".join(f"{runs} {weight:g}" for runs, weight in self.weights.items())
            parts.append(f"Weights {weights}, all others 1")
        if self.pyramid != (PyramidScale(),):
            zooms = ", ".join(f"{scale.zoom:g}" for scale in self.pyramid)
            parts.append(f"At {zooms} times the size, {self.merge.scales}")
        if self.gate:
            parts.append(f"Tiles that {', '.join(self.gate.runs)} find empty are left out")
        parts.append(f"Threshold {', '.join(f'{value:g}' for value in self.thresholds)}")
        if self.postprocess:
            parts.append(f"Then {', '.join(step.step for step in self.postprocess)}")
        return ". ".join(parts)
