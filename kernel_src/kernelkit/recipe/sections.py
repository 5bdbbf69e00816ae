"""The sections of a recipe: typed settings that refuse keys they do not know."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
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

_MERGE_SENTENCE = re.compile(
    r"(?P<how>mean|gmean|max|vote|tsharpen)(?:\((?P<temperature>[0-9.]+)\))?"
    r" of (?P<of>logits|probabilities)"
)


class Section(BaseModel):
    """A frozen section of a recipe that refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RLEConvention(Section):
    """How a mask becomes text: the order of its pixels, the first position, the empty mask."""

    order: Order = "column"
    base: Literal[0, 1] = 1
    empty: str = ""


class Competition(Section):
    """What the competition's folder holds, and the columns that its submission wants."""

    slug: str
    images: str = "test"
    suffixes: tuple[str, ...] = (".tiff", ".tif")
    sample: str = "sample_submission.csv"
    id_column: str = "id"
    rle_column: str = "predicted"
    rle: RLEConvention = RLEConvention()


class Tiles(Section):
    """The tile grid, in pixels of the source image.

    `core` is the side of the square that counts, `pad` the context on each of its sides, `scale`
    the whole factor by which a read window is averaged down before the network sees it.
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
                f"core {self.core} and pad {self.pad} must be multiples of scale {self.scale}"
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
    """Which tiles are worth reading, judged on a thumbnail of `1/scale` of the image.

    `saturation`: a tile is kept where more than `fraction` of it has an HSV saturation above
    `above`. `grey`: where more than `fraction` of it lies between `above` and `below`.
    """

    rule: Literal["saturation", "grey"]
    above: float = 40
    below: float = 255
    fraction: Annotated[float, Field(ge=0, le=1)] = 0.015
    scale: PositiveInt = 16


class NetworkInput(Section):
    """How source pixels become the network's input: bands (from 1), dB, divisor, mean and std.

    The value is `(x / divide - mean) / std`, or with `decibel` `(10 log10(x) - mean) / std`.
    """

    bands: tuple[PositiveInt, ...] = (1, 2, 3)
    decibel: bool = False
    divide: PositiveFloat = 255.0
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[PositiveFloat, ...] = (0.229, 0.224, 0.225)

    @model_validator(mode="after")
    def _one_value_a_band(self) -> Self:
        if not len(self.bands) == len(self.mean) == len(self.std):
            raise ValueError(
                f"bands, mean and std need one value a band, but have {len(self.bands)}, "
                f"{len(self.mean)} and {len(self.std)}"
            )
        return self


class MergeStep(Section):
    """One level of merging: how, and of what. In YAML it is a sentence.

    `mean of logits`, `gmean of probabilities`, `max of probabilities`, `vote of probabilities`,
    `tsharpen(0.5) of probabilities` (p^t, then the mean).
    """

    how: MergeMethod = "mean"
    of: Domain
    temperature: float | None = None

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
                f"{value!r} is no way to merge; write 'mean of logits', 'mean of probabilities', "
                "'gmean of ...', 'max of ...', 'vote of ...' or 'tsharpen(0.5) of probabilities'"
            )
        return match.groupdict()

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if (self.how == "tsharpen") != (self.temperature is not None):
            raise ValueError("tsharpen, and only it, takes a temperature: 'tsharpen(0.5) of ...'")
        if self.how in ("gmean", "tsharpen", "vote") and self.of == "logits":
            raise ValueError(f"{self.how} is defined for probabilities, not for logits")
        return self


class Merge(Section):
    """How answers become one, level by level: TTA views, folds, models, scales of the pyramid."""

    views: MergeStep = MergeStep(of="logits")
    folds: MergeStep = MergeStep(of="probabilities")
    models: MergeStep = MergeStep(of="probabilities")
    scales: MergeStep = MergeStep(of="probabilities")


class PyramidScale(Section):
    """One size at which tiles are looked at: how enlarged, by which runs, with what weight."""

    zoom: PositiveFloat = 1.0
    runs: tuple[str, ...] = ("*",)
    weight: PositiveFloat = 1.0


class Gate(Section):
    """Who may say that a tile is empty: then no decoder runs for it, and its probability is 0.

    `runs` are classifiers, or networks with a classification head. A tile counts as empty where
    the mean probability of the class `empty_class` is above `above`; of a single output, the
    sigmoid is the probability of class 1.
    """

    runs: tuple[str, ...]
    empty_class: NonNegativeInt = 0
    above: Annotated[float, Field(gt=0, lt=1)] = 0.5


class Execution(Section):
    """How networks run on the device; each falls back, with a note, where it does not work.

    `channels_last` keeps the channels of a pixel together, which convolutions like. `half_weights`
    keeps weights in the precision that they are used in, at half the memory. `fold_norms` works
    batch norms into the convolutions before them. `compile` is torch.compile, and `cuda_graph`
    records a whole batch once and replays it; both pay for a warm-up.
    """

    channels_last: bool = True
    half_weights: bool = True
    fold_norms: bool = True
    compile: bool = False
    cuda_graph: bool = False


class ImageKind(Section):
    """Which images an ensemble is for: those with this many bands, and this dtype if named."""

    bands: PositiveInt | None = None
    dtype: Literal["uint8", "uint16", "int16", "float32"] | None = None

    def fits(self, bands: int, dtype: str) -> bool:
        """Whether an image with `bands` bands of `dtype` is of this kind."""
        return self.bands in (None, bands) and self.dtype in (None, dtype)


class PostprocessStep(Section):
    """One step on a finished mask: the name of a function of `postprocess`, and its arguments."""

    step: str
    arguments: dict[str, Any] = {}

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


Probability = Annotated[float, Field(gt=0, lt=1)]


class EnsembleRecipe(Section):
    """The models for one kind of image, how they look at it and how their answers are merged.

    `runs` are glob patterns of run folders below the models folder. `checkpoints` says which of a
    fold's compete: all, or only those of averaged (`ema`) or of plain (`raw`) weights. `programs`
    also loads TorchScript, torch.export and ONNX files, which can run code: only if you trust them.
    `views` are the names of TTA views (see `tta`), or one name of a set of them: `flips`,
    `hubmap`, `unosat`, `d4`, `rotating`. `weights` maps patterns of runs (`unet*`) or of members
    (`*/fold_0`) to their weight in means and votes; what no pattern names weighs 1.
    `thresholds` has one value, or one a class.
    """

    name: str
    when: ImageKind = ImageKind()
    runs: tuple[str, ...] = ("*",)
    checkpoints: Prefer = "best"
    programs: bool = False
    input: NetworkInput = NetworkInput()
    activation: Activation = "sigmoid"
    views: tuple[str, ...] | str = ("identity",)
    pyramid: Annotated[tuple[PyramidScale, ...], Field(min_length=1)] = (PyramidScale(),)
    merge: Merge = Merge()
    weights: dict[str, PositiveFloat] = {}
    gate: Gate | None = None
    thresholds: Annotated[tuple[Probability, ...], BeforeValidator(_one_or_many)] = (0.5,)
    postprocess: tuple[PostprocessStep, ...] = ()

    def describe(self) -> str:
        """The ensemble in one sentence, from what it looks at to what is done with its masks."""
        views = self.views if isinstance(self.views, str) else ", ".join(self.views)
        parts = [
            f"{self.name}: runs {', '.join(self.runs)}",
            f"views {views}, {self.merge.views}",
            f"folds {self.merge.folds}",
            f"models {self.merge.models}",
        ]
        if self.weights:
            weights = ", ".join(f"{runs} {weight:g}" for runs, weight in self.weights.items())
            parts.append(f"weights {weights}, all others 1")
        if self.pyramid != (PyramidScale(),):
            zooms = ", ".join(f"{scale.zoom:g}" for scale in self.pyramid)
            parts.append(f"at {zooms} times the size, {self.merge.scales}")
        if self.gate:
            parts.append(f"tiles that {', '.join(self.gate.runs)} find empty are left out")
        parts.append(f"threshold {', '.join(f'{value:g}' for value in self.thresholds)}")
        parts += [step.step for step in self.postprocess]
        return "; ".join(parts)


class Stitching(Section):
    """How tiles become an image: the blend, and where the network's scale is left.

    `upsample: tile` enlarges each tile's probabilities and then thresholds (HuBMAP);
    `upsample: band` blends at the network's scale and enlarges finished rows (deepflash2).
    """

    blend: Blend = "crop"
    upsample: Upsample = "tile"

    @property
    def is_crop(self) -> bool:
        """Whether each tile's core is final by itself, so that it can be thresholded at once."""
        return self.blend == "crop" and self.upsample == "tile"
