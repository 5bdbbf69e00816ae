"""The sections about an ensemble: its images, its models, and what follows on them."""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from kernelkit.recipe.gate import Gate
from kernelkit.recipe.merge import Merge
from kernelkit.recipe.network import NetworkInput
from kernelkit.recipe.pyramid import PyramidScale, refuse_unclear_scales
from kernelkit.recipe.section import Section
from kernelkit.recipe.words import Checkpoints, Patterns, Word, no_doubles
from kernelkit.vocabulary import Activation

__all__ = ["EnsembleRecipe", "ImageKind", "PostprocessStep"]


class ImageKind(Section):
    """Which images an ensemble is for. It needs not be said if all are of one kind.

    Attributes
    ----------
    bands
        How many bands they have. Left out, it is any number.
    dtype
        The type of their pixels. Left out, it is any.
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


class PostprocessStep(Section):
    """One step on a finished mask, written as its name, or as `{name: {argument: value}}`.

    Attributes
    ----------
    step
        The name of a step, in the long form.
    arguments
        The step's arguments, in the long form. A list has one value per class.
    """

    step: Word
    arguments: dict[str, Any] = Field(default={})

    @classmethod
    def short_forms(cls) -> Any:
        """Return the type of a step's name, or of a name with arguments."""
        no_keys: dict[str, Any] = {"propertyNames": {"minLength": 1, "not": {"const": "step"}}}
        named = Field(min_length=1, max_length=1, json_schema_extra=no_keys)
        return Word | Annotated[dict[str, dict[str, Any] | None], named]

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
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and value:
        return _weights_of_views(value)
    if isinstance(value, list | tuple) and value and all(isinstance(v, str) for v in value):
        return no_doubles(tuple(value))
    raise ValueError(
        f"found {value!r:.60}, wanted the name of a set of views, a list of views, or views with"
        " their weights"
    )


def _weights_of_views(value: dict[Any, Any]) -> dict[Any, Any]:
    for view, weight in value.items():
        is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not is_number or not 0 < weight < math.inf:
            found = "nothing" if weight is None else f"{weight!r:.60}"
            raise ValueError(
                f"found {found} as the weight of {view!s:.60}, wanted a number above 0"
            )
    return value


Probability = Annotated[float, Field(gt=0, lt=1)]
Views = Annotated[tuple[str, ...] | dict[Word, PositiveFloat] | str, BeforeValidator(_set_or_views)]
_Several = Annotated[tuple[Probability, ...], Field(min_length=1)]
Thresholds = Annotated[
    _Several, BeforeValidator(_one_or_many, json_schema_input_type=Probability | _Several)
]


def _usual_thresholds(section: dict[str, Any]) -> tuple[float, ...] | None:
    return None if section.get("activation") == "softmax" else (0.5,)


class EnsembleRecipe(Section):
    """The models for one kind of image, how they look at it and how their answers are merged.

    Attributes
    ----------
    name
        What reports and errors call it.
    when
        The kind of image that it is for. Left out, it is for all.
    runs
        Glob patterns of run folders, below the models folder.
    checkpoints
        Which checkpoints of a fold are members. "best" is that with the best score in its name,
        "ema" the best with averaged weights, "raw" the best with plain ones, "last" that of the
        highest epoch, "all" each. Several words, such as [best, last], give several members. They
        are merged with the folds, as if each were one.
    programs
        Whether TorchScript, torch.export and AOTInductor files are loaded too. They can run code,
        so use it only if you trust them. ONNX files hold no code, and are loaded in any case.
    input
        How pixels become the network's input.
    activation
        How logits become probabilities: "sigmoid" or "softmax".
    views
        Names of TTA views, or the name of a set of them: `flips`, `hubmap`, `unosat`, `d4` or
        `rotating`. `{identity: 2, hflip: 1}` gives them weights in means and votes.
    pyramid
        The sizes at which tiles are looked at, or whole pictures.
    merge
        How answers become one.
    weights
        The weight in means and votes of runs (`unet*`) or members (`*/fold_0`), by pattern. All
        others weigh 1.
    gate
        Which runs may say that a tile is empty.
    thresholds
        A pixel is on if its probability is above it. One value, or one per class. Left out, it is
        0.5 with sigmoid. With softmax a pixel is then of its likeliest class.
    postprocess
        Steps on the finished mask, in their order.
    """

    name: Word
    when: ImageKind = ImageKind()
    runs: Patterns = ("*",)
    checkpoints: Checkpoints = "best"
    programs: bool = False
    input: NetworkInput = NetworkInput()
    activation: Activation = "sigmoid"
    views: Views = ("identity",)
    pyramid: Annotated[tuple[PyramidScale, ...], Field(min_length=1)] = (PyramidScale(),)
    merge: Merge = Merge()
    weights: dict[str, PositiveFloat] = Field(default={})
    gate: Gate | None = None
    thresholds: Thresholds | None = Field(default_factory=_usual_thresholds)
    postprocess: tuple[PostprocessStep, ...] = ()

    @model_validator(mode="after")
    def _bands_are_there(self) -> Self:
        if self.when.bands is not None and self.input.highest_band > self.when.bands:
            raise ValueError(
                f"found band {self.input.highest_band} in input.bands, but when.bands says that"
                f" images have {self.when.bands}. Correct one of them"
            )
        return self

    @model_validator(mode="before")
    @classmethod
    def _no_thresholds_are_left_out(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("thresholds", ()) is None:
            return {name: given for name, given in value.items() if name != "thresholds"}
        return value

    @model_validator(mode="after")
    def _scales_are_clear(self) -> Self:
        refuse_unclear_scales(self.pyramid, self.runs)
        return self

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """The sizes to which whole pictures are resized, for the pyramid and for the gate."""
        scales = [scale.size for scale in self.pyramid]
        gate = self.gate.size if self.gate else None
        return [(size[0], size[1]) for size in (*scales, gate) if size is not None]

    def describe(self) -> str:
        """Return the ensemble in one line, from its runs to the steps on its masks."""
        steps = dict(self.merge.steps)
        parts = [
            f"{self.name}: runs {', '.join(self.runs)}",
            f"Views {self._views_in_words()}, {steps.pop('views')}",
        ]
        scales = steps.pop("scales", None)
        parts += [f"{name.capitalize()}, {step}" for name, step in steps.items()]
        if self.weights:
            weights = ", ".join(f"{runs} {weight:g}" for runs, weight in self.weights.items())
            parts.append(f"Weights {weights}, all others 1")
        if self.pyramid != (PyramidScale(),):
            labels = ", ".join(scale.label for scale in self.pyramid)
            how = f"At {labels}" + ("" if self.pyramid[0].size else " times the size")
            parts.append(how if scales is None else f"{how}, {scales}")
        if self.gate:
            parts.append(f"Tiles that {', '.join(self.gate.runs)} find empty are left out")
        if self.thresholds is None:
            parts.append("Each pixel is of its likeliest class")
        else:
            parts.append(f"Threshold {', '.join(f'{value:g}' for value in self.thresholds)}")
        if self.postprocess:
            parts.append(f"Then {', '.join(step.step for step in self.postprocess)}")
        return ". ".join(parts)

    def _views_in_words(self) -> str:
        match self.views:
            case str():
                return self.views
            case dict():
                return ", ".join(f"{view} {weight:g}" for view, weight in self.views.items())
        return ", ".join(self.views)
