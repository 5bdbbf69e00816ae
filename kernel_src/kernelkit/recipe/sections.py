"""The sections of a recipe: typed values that refuse keys they do not know."""

import math
import re
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from kernelkit.vocabulary import (
    Activation,
    Blend,
    Domain,
    Edges,
    Fill,
    MergeMethod,
    Order,
    Prefer,
    Upsample,
    choices,
)

__all__ = [
    "Competition",
    "EnsembleRecipe",
    "Execution",
    "ForegroundRule",
    "Gate",
    "ImageKind",
    "Merge",
    "MergeStep",
    "NetworkInput",
    "PostprocessStep",
    "PyramidScale",
    "RLEConvention",
    "Section",
    "Stitching",
    "Tiles",
]

# "mean of logits", or "tsharpen(0.5) of probabilities"
_MERGE_SENTENCE = re.compile(
    rf"(?P<how>{'|'.join(get_args(MergeMethod))})(?:\((?P<temperature>[0-9.]+)\))?"
    rf" of (?P<of>{'|'.join(get_args(Domain))})"
)


class Section(BaseModel):
    """A frozen section of a recipe that refuses keys it does not know, NaN and infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _truth_values_are_no_numbers(cls, value: Any) -> Any:
        if isinstance(value, dict):
            for name, given in value.items():
                field = cls.model_fields.get(name) if isinstance(name, str) else None
                if field and "bool" not in str(field.annotation) and _has_truth_value(given):
                    raise ValueError(f"found a truth value as {name}, wanted numbers or words")
        return value


def _has_truth_value(value: Any) -> bool:
    many = isinstance(value, list | tuple)
    return isinstance(value, bool) or (many and any(isinstance(part, bool) for part in value))


def _no_doubles(values: tuple[Any, ...]) -> tuple[Any, ...]:
    twice = {value for value in values if values.count(value) > 1}
    if twice:
        raise ValueError(f"found {', '.join(sorted(map(str, twice)))} twice, wanted each once")
    return values


def _below(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\0" in path:
        raise ValueError(f"found {path!r:.60}, wanted a path below the competition's folder")
    return path


def _can_match(pattern: str) -> str:
    if not pattern or pattern != pattern.strip() or "/" in pattern or "\\" in pattern:
        raise ValueError(
            f"found {pattern!r:.60}, which no run's name can match. Write a name, or a pattern such"
            ' as "unet*"'
        )
    return pattern


Word = Annotated[str, Field(min_length=1)]
Below = Annotated[str, AfterValidator(_below)]
# Names of runs, with * and ? for what may stand there.
Patterns = Annotated[
    tuple[Annotated[str, AfterValidator(_can_match)], ...],
    Field(min_length=1),
    AfterValidator(_no_doubles),
]


def _overlap(patterns: Patterns, others: Patterns) -> bool:
    """Whether two lists name one run for certain. Two different patterns may still do."""
    return any(
        fnmatchcase(one, other) or fnmatchcase(other, one) for one in patterns for other in others
    )


class RLEConvention(Section):
    """How a mask becomes text.

    Attributes
    ----------
    order
        Of the mask's pixels: down the columns, or along the rows.
    base
        The position of the first pixel.
    empty
        What stands for a mask without pixels.
    """

    order: Order = "column"
    base: Literal[0, 1] = 1
    empty: str = ""


class Competition(Section):
    """What the competition's folder holds, and the columns that its submission wants.

    Attributes
    ----------
    slug
        Kaggle's name of the competition.
    images
        The test images, below the competition's folder: a folder, or a pattern. In a pattern
        `{image}` is the image's id, `{group}` what several images belong to, and `{band}` one of
        `bands`. `*`, `?` and `**` are those of a shell.
    bands
        What `{band}` stands for, in the order of the image's bands.
    suffixes
        In a folder, files with one of these suffixes are images. An image's id is its file's stem.
    sample
        The sample submission, below the competition's folder.
    classes
        The names of the submitted classes. None if there is one row per image.
    submitted
        The numbers of these classes among those that the networks answer with, counted from 0.
        Empty means all, in their order.
    rows
        How a row's id is made of `{image}` and `{class}`.
    id_column, rle_column
        The columns of the submission.
    rle
        How its masks become text.
    """

    slug: Word
    images: Below = "test"
    bands: tuple[Word, ...] = ()
    suffixes: Annotated[tuple[Word, ...], Field(min_length=1)] = (".tiff", ".tif")
    sample: Below = "sample_submission.csv"
    classes: tuple[Word, ...] = ()
    submitted: tuple[NonNegativeInt, ...] = ()
    rows: Word = "{image}"
    id_column: Word = "id"
    rle_column: Word = "predicted"
    rle: RLEConvention = RLEConvention()

    @model_validator(mode="after")
    def _two_columns(self) -> Self:
        if self.id_column == self.rle_column:
            raise ValueError(
                f"found {self.id_column} as id_column and as rle_column, wanted two columns"
            )
        return self

    @model_validator(mode="after")
    def _rows_name_classes(self) -> Self:
        known = {"{image}", "{class}"} if self.classes else {"{image}"}
        found = set(re.findall(r"\{.*?\}", self.rows))
        if found != known:
            raise ValueError(
                f"found rows {self.rows!r} for {len(self.classes)} classes, wanted a form with "
                f"{' and '.join(sorted(known, reverse=True))}"
            )
        if len(set(self.classes)) < len(self.classes):
            raise ValueError(f"found classes {', '.join(self.classes)}, wanted each name once")
        return self

    @model_validator(mode="after")
    def _one_number_per_class(self) -> Self:
        if self.submitted and len(self.submitted) != len(self.classes or ("",)):
            raise ValueError(
                f"found {len(self.submitted)} submitted classes for {len(self.classes or ('',))} "
                "row(s) per image, wanted one number per row"
            )
        return self

    @model_validator(mode="after")
    def _pattern_names_an_image(self) -> Self:
        places = re.findall(r"\{.*?\}", self.images)
        if not places and self.bands:
            raise ValueError("found bands without {band} in images, wanted a pattern with it")
        if not places:
            return self
        known = {"{image}", "{group}", "{band}"} if self.bands else {"{image}", "{group}"}
        if "{image}" not in places or not known.issuperset(places):
            raise ValueError(
                f"found images {self.images!r}, wanted a folder, or a pattern with {{image}} and "
                f"perhaps {{group}}{' and {band}' if self.bands else ''}"
            )
        return self

    @property
    def labels(self) -> tuple[int, ...]:
        """The number of the networks' class that each row of an image is about."""
        return self.submitted or tuple(range(max(1, len(self.classes))))


class Tiles(Section):
    """The tile grid, in pixels of the source image.

    Attributes
    ----------
    core
        The side of the square that counts.
    pad
        The context on each of its sides.
    scale
        The whole factor by which a window is averaged down before the network sees it.
    edges
        With "pad", tiles at the border reach outside of the image. With "shift" they are moved
        inward.
    fill
        What stands outside of the image: "zero", "reflect" or "edge".
    """

    core: PositiveInt
    pad: NonNegativeInt = 0
    scale: PositiveInt = 1
    edges: Edges = "pad"
    fill: Fill = "zero"

    @model_validator(mode="after")
    def _scale_divides(self) -> Self:
        if self.core % self.scale or self.pad % self.scale:
            raise ValueError(
                f"found core {self.core} and pad {self.pad}, wanted multiples of scale {self.scale}"
            )
        return self

    @property
    def tile(self) -> int:
        """The side of the window that is read: core and both pads."""
        return self.core + 2 * self.pad

    @property
    def overlap(self) -> int:
        """How many pixels two neighbouring windows share."""
        return 2 * self.pad


class ForegroundRule(Section):
    """Which tiles are worth reading, judged on a thumbnail.

    Attributes
    ----------
    rule
        With "saturation", a pixel counts if its HSV saturation is above `above`. With "grey", it
        counts if it lies between `above` and `below`.
    above, below
        The limits of the rule.
    fraction
        A tile is kept if more than this share of it counts.
    scale
        The thumbnail is this many times smaller than the image.
    """

    rule: Literal["saturation", "grey"]
    above: float = 40
    below: float = 255
    fraction: Annotated[float, Field(ge=0, lt=1)] = 0.015
    scale: PositiveInt = 16

    @model_validator(mode="after")
    def _something_counts(self) -> Self:
        highest = 255.0 if self.rule == "saturation" else self.below
        if self.above >= highest:
            raise ValueError(
                f"found above {self.above:g}, wanted less than {highest:g}. Else no pixel counts"
            )
        return self


class NetworkInput(Section):
    """How source pixels become the network's input.

    The value is `(x / divide - mean) / std`. With `decibel` it is `(10 log10(x) - mean) / std`.

    Attributes
    ----------
    bands
        Which bands of the image to take, counted from 1, in the network's order.
    decibel
        Whether pixels are turned into decibels, as of radar images.
    divide
        The value that becomes 1. It is not used with `decibel`.
    mean, std
        One value per band of the input.
    """

    bands: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (1, 2, 3)
    decibel: bool = False
    divide: PositiveFloat = 255.0
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[PositiveFloat, ...] = (0.229, 0.224, 0.225)

    @model_validator(mode="after")
    def _one_value_per_band(self) -> Self:
        if not len(self.bands) == len(self.mean) == len(self.std):
            raise ValueError(
                f"found {len(self.bands)} bands, {len(self.mean)} values of mean and "
                f"{len(self.std)} of std, wanted one mean and one std per band"
            )
        return self


class MergeStep(Section):
    """One level of merging: how, and of what. In YAML it is a phrase.

    The phrase is `mean of logits`, `gmean of probabilities`, `max of probabilities`,
    `vote of probabilities` or `tsharpen(0.5) of probabilities`.

    Attributes
    ----------
    how
        The method: "mean", "gmean" (geometric), "max", "vote" or "tsharpen" (p^t, then the mean).
    of
        What is merged: "logits" or "probabilities".
    temperature
        The t of "tsharpen".
    """

    how: MergeMethod = "mean"
    of: Domain
    temperature: Annotated[float, Field(ge=0)] | None = None

    def __str__(self) -> str:
        temperature = "" if self.temperature is None else f"({self.temperature:g})"
        return f"{self.how}{temperature} of {self.of}"

    @model_validator(mode="before")
    @classmethod
    def _from_sentence(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        match = _MERGE_SENTENCE.fullmatch(value.strip())
        if match is None:
            raise ValueError(
                f'"{value}" is no way to merge. Write {choices(MergeMethod)}, then "of", then '
                f'{choices(Domain)}, such as "mean of logits" or "tsharpen(0.5) of probabilities"'
            )
        return match.groupdict()

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if (self.how == "tsharpen") != (self.temperature is not None):
            raise ValueError('only tsharpen takes a temperature. Write "tsharpen(0.5) of ..."')
        if self.how in ("gmean", "tsharpen", "vote") and self.of == "logits":
            raise ValueError(f"{self.how} is defined for probabilities, not for logits")
        return self


class Merge(Section):
    """How answers become one, level by level.

    Attributes
    ----------
    views
        The TTA views of one member.
    folds
        The folds of one model.
    models
        The models at one scale of the pyramid.
    scales
        The scales of the pyramid.
    """

    views: MergeStep = MergeStep(of="logits")
    folds: MergeStep = MergeStep(of="probabilities")
    models: MergeStep = MergeStep(of="probabilities")
    scales: MergeStep = MergeStep(of="probabilities")

    @model_validator(mode="after")
    def _sharpened_once(self) -> Self:
        steps = {name: getattr(self, name) for name in Merge.model_fields}
        sharpened = {name: step for name, step in steps.items() if step.temperature}
        if len(sharpened) > 1:
            exponent = math.prod(step.temperature for step in sharpened.values())
            raise ValueError(
                f"found tsharpen at {len(sharpened)} levels ({', '.join(sharpened)}), which"
                f" together is p^{exponent:g}. Write it at one level, and the mean at the others"
            )
        return self


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


class Execution(Section):
    """How networks run on the device. What does not work is left out, with a note.

    Attributes
    ----------
    channels_last
        Keep the channels of a pixel together in memory. Convolutions are faster then.
    half_weights
        Keep weights in the precision that they are used in, at half the memory.
    fuse_norms
        Fuse batch norms into the convolutions before them.
    compile
        Use torch.compile. It takes a warm-up.
    cuda_graph
        Record a whole batch once and replay it. It takes a warm-up.
    """

    channels_last: bool = True
    half_weights: bool = True
    fuse_norms: bool = True
    compile: bool = False
    cuda_graph: bool = False


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
    arguments: dict[str, Any] = {}

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
        return value if isinstance(value, str) else _no_doubles(tuple(value))
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
    weights: dict[str, PositiveFloat] = {}
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
                if not set("*?[") & set(run) and not _overlap((run,), self.runs):
                    raise ValueError(
                        f"found {run} in a scale of the pyramid, which no pattern of runs names"
                        f" ({', '.join(self.runs)}). Add it there"
                    )
        for number, scale in enumerate(self.pyramid):
            for other in self.pyramid[:number]:
                if scale.zoom == other.zoom and _overlap(scale.runs, other.runs):
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


class Stitching(Section):
    """How tiles become an image.

    Attributes
    ----------
    blend
        How overlapping tiles become one picture: "crop", "mean", "linear", "hann" or "gaussian".
    upsample
        With "tile", each tile's probabilities are enlarged and then thresholded (HuBMAP). With
        "band", tiles are blended at the network's scale and finished rows enlarged (deepflash2).
    """

    blend: Blend = "crop"
    upsample: Upsample = "tile"

    @property
    def is_crop(self) -> bool:
        """Whether each tile's core is final by itself and can be thresholded at once."""
        return self.blend == "crop" and self.upsample == "tile"
