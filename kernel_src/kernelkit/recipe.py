"""A recipe: everything that one competition decides, in one YAML file with checked keys.

A recipe says what to read, which models look at it, how their answers are merged and what is
written. It holds no paths of a machine: those are the notebook's parameters.

>>> recipe = Recipe.load("hubmap")
>>> recipe.tiles.core, recipe.tiles.pad, recipe.tiles.scale
(1536, 384, 3)
>>> str(recipe.ensembles[0].merge.views)
'mean of logits'
"""

import difflib
import hashlib
import re
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from kernelkit.errors import RecipeError

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
    "Recipe",
    "Stitching",
    "Tiles",
]

_MERGE_SENTENCE = re.compile(
    r"(?P<how>mean|gmean|max|vote|tsharpen)(?:\((?P<temperature>[0-9.]+)\))?"
    r" of (?P<of>logits|probabilities)"
)


class _Settings(BaseModel):
    """A frozen section of a recipe that refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RLEConvention(_Settings):
    """How a mask becomes text: the order of its pixels, the first position, the empty mask."""

    order: Literal["column", "row"] = "column"
    base: Literal[0, 1] = 1
    empty: str = ""


class Competition(_Settings):
    """What the competition's folder holds, and the columns that its submission wants."""

    slug: str
    images: str = "test"
    suffixes: tuple[str, ...] = (".tiff", ".tif")
    sample: str = "sample_submission.csv"
    id_column: str = "id"
    rle_column: str = "predicted"
    rle: RLEConvention = RLEConvention()


class Tiles(_Settings):
    """The tile grid, in pixels of the source image.

    `core` is the side of the square that counts, `pad` the context on each of its sides, `scale`
    the whole factor by which a read window is averaged down before the network sees it.
    """

    core: PositiveInt
    pad: NonNegativeInt = 0
    scale: PositiveInt = 1
    edges: Literal["pad", "shift"] = "pad"
    fill: Literal["zero", "reflect", "edge"] = "zero"

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


class ForegroundRule(_Settings):
    """Which tiles are worth reading, judged on a thumbnail of `1/scale` of the image.

    `saturation`: a tile is kept where more than `fraction` of it has an HSV saturation above
    `above`. `grey`: where more than `fraction` of it lies between `above` and `below`.
    """

    rule: Literal["saturation", "grey"]
    above: float = 40
    below: float = 255
    fraction: Annotated[float, Field(ge=0, le=1)] = 0.015
    scale: PositiveInt = 16


class NetworkInput(_Settings):
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


class MergeStep(_Settings):
    """One level of merging: how, and of what. In YAML it is a sentence.

    `mean of logits`, `gmean of probabilities`, `max of probabilities`, `vote of probabilities`,
    `tsharpen(0.5) of probabilities` (p^t, then the mean).
    """

    how: Literal["mean", "gmean", "max", "vote", "tsharpen"] = "mean"
    of: Literal["logits", "probabilities"]
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


class Merge(_Settings):
    """How answers become one, level by level: TTA views, folds, models, scales of the pyramid."""

    views: MergeStep = MergeStep(of="logits")
    folds: MergeStep = MergeStep(of="probabilities")
    models: MergeStep = MergeStep(of="probabilities")
    scales: MergeStep = MergeStep(of="probabilities")


class PyramidScale(_Settings):
    """One size at which tiles are looked at: how enlarged, by which runs, with what weight."""

    zoom: PositiveFloat = 1.0
    runs: tuple[str, ...] = ("*",)
    weight: PositiveFloat = 1.0


class Gate(_Settings):
    """Who may say that a tile is empty: then no decoder runs for it, and its probability is 0.

    `runs` are classifiers, or networks with a classification head. A tile counts as empty where
    the mean probability of the class `empty_class` is above `above`; of a single output, the
    sigmoid is the probability of class 1.
    """

    runs: tuple[str, ...]
    empty_class: NonNegativeInt = 0
    above: Annotated[float, Field(gt=0, lt=1)] = 0.5


class Execution(_Settings):
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


class ImageKind(_Settings):
    """Which images an ensemble is for: those with this many bands, and this dtype if named."""

    bands: PositiveInt | None = None
    dtype: Literal["uint8", "uint16", "int16", "float32"] | None = None

    def fits(self, bands: int, dtype: str) -> bool:
        """Whether an image with `bands` bands of `dtype` is of this kind."""
        return self.bands in (None, bands) and self.dtype in (None, dtype)


class PostprocessStep(_Settings):
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


class EnsembleRecipe(_Settings):
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
    checkpoints: Literal["best", "ema", "raw"] = "best"
    programs: bool = False
    input: NetworkInput = NetworkInput()
    activation: Literal["sigmoid", "softmax"] = "sigmoid"
    views: tuple[str, ...] | str = ("identity",)
    pyramid: Annotated[tuple[PyramidScale, ...], Field(min_length=1)] = (PyramidScale(),)
    merge: Merge = Merge()
    weights: dict[str, PositiveFloat] = {}
    gate: Gate | None = None
    thresholds: Annotated[tuple[Probability, ...], BeforeValidator(_one_or_many)] = (0.5,)
    postprocess: tuple[PostprocessStep, ...] = ()


class Stitching(_Settings):
    """How tiles become an image: the blend, and where the network's scale is left.

    `upsample: tile` enlarges each tile's probabilities and then thresholds (HuBMAP);
    `upsample: band` blends at the network's scale and enlarges finished rows (deepflash2).
    """

    blend: Literal["crop", "mean", "linear", "hann", "gaussian"] = "crop"
    upsample: Literal["tile", "band"] = "tile"

    @property
    def is_crop(self) -> bool:
        """Whether each tile's core is final by itself, so that it can be thresholded at once."""
        return self.blend == "crop" and self.upsample == "tile"


class Recipe(_Settings):
    """One competition's settings; read it with `Recipe.load`."""

    name: str
    summary: str = ""
    competition: Competition
    tiles: Tiles
    foreground: ForegroundRule | None = None
    ensembles: Annotated[tuple[EnsembleRecipe, ...], Field(min_length=1)]
    stitching: Stitching = Stitching()
    batch: PositiveInt = 8
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    execution: Execution = Execution()
    hours: PositiveFloat = 9.0

    @field_validator("ensembles")
    @classmethod
    def _names_differ(cls, ensembles: tuple[EnsembleRecipe, ...]) -> tuple[EnsembleRecipe, ...]:
        names = [ensemble.name for ensemble in ensembles]
        if len(set(names)) < len(names):
            raise ValueError(f"two ensembles have the same name: {', '.join(names)}")
        return ensembles

    @classmethod
    def names(cls) -> list[str]:
        """The names of the recipes that come with kernelkit."""
        folder = resources.files("kernelkit") / "recipes"
        return sorted(Path(file.name).stem for file in folder.iterdir() if ".yaml" in file.name)

    @classmethod
    def load(cls, name_or_path: str | Path) -> Self:
        """Read a recipe by its name among kernelkit's own, or from a YAML file.

        Raises
        ------
        RecipeError
            No such recipe, not YAML, or a key or value that a recipe cannot have.
        """
        path = Path(name_or_path)
        if path.suffix in (".yaml", ".yml"):
            if not path.is_file():
                raise RecipeError(f"{path}: there is no such recipe file; check the path.")
            text = path.read_text(encoding="utf-8")
        elif str(name_or_path) in cls.names():
            own = resources.files("kernelkit") / "recipes" / f"{name_or_path}.yaml"
            text = own.read_text(encoding="utf-8")
        else:
            raise RecipeError(
                f"{name_or_path}: there is no such recipe; name one of {', '.join(cls.names())}, "
                "or give the path of a .yaml file."
            )
        return cls.parse(text, source=str(name_or_path))

    @classmethod
    def parse(cls, text: str, source: str = "recipe") -> Self:
        """Read a recipe from YAML text; `source` is what error messages call it."""
        try:
            content = yaml.safe_load(text)
        except yaml.YAMLError as error:
            where = getattr(error, "problem_mark", None)
            line = f" at line {where.line + 1}" if where else ""
            raise RecipeError(f"{source}: this is not valid YAML{line}; correct it.") from error
        if not isinstance(content, dict):
            raise RecipeError(f"{source}: a recipe is a mapping of keys, not {content!r}.")
        return cls._validated(content, source)

    @classmethod
    def _validated(cls, content: dict[str, Any], source: str) -> Self:
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise RecipeError(f"{source}: {_first_problem(cls, error)}") from error

    def override(self, **settings: Any) -> Self:
        """A copy with some settings replaced; a key reaches into sections with `__`.

        `recipe.override(tiles__core=1024, batch=4)`; None leaves a setting as it is.
        """
        content = self.model_dump()
        for dotted, value in settings.items():
            if value is None:
                continue
            *sections, key = dotted.split("__")
            section = content
            for name in sections:
                section = section.get(name, {})
            if key not in section:
                raise RecipeError(f"{self.name}: there is no setting {dotted} to override.")
            section[key] = value
        return self._validated(content, self.name)

    def with_tiles(self, tile: int | None, overlap: int | None) -> Self:
        """A copy with another tile side and overlap in source pixels; None keeps the recipe's."""
        tile = self.tiles.tile if tile is None else tile
        overlap = self.tiles.overlap if overlap is None else overlap
        if overlap < 0 or overlap % 2 or overlap >= tile:
            raise RecipeError(
                f"{self.name}: an overlap of {overlap} does not go with tiles of {tile}; "
                "give an even number from 0 up to less than the tile."
            )
        return self.override(tiles__core=tile - overlap, tiles__pad=overlap // 2)

    def ensemble_for(self, bands: int, dtype: str) -> EnsembleRecipe:
        """The first ensemble that is for images with `bands` bands of `dtype`."""
        for ensemble in self.ensembles:
            if ensemble.when.fits(bands, dtype):
                return ensemble
        kinds = "; ".join(f"{e.name}: {e.when}" for e in self.ensembles)
        raise RecipeError(
            f"{self.name}: no ensemble is for an image with {bands} band(s) of {dtype} ({kinds}); "
            "add one, or widen a 'when'."
        )

    def describe(self) -> str:
        """The recipe in a few sentences, as its authors would say it."""
        tiles = self.tiles
        lines = [
            f"{self.name}: {self.summary}",
            f"tiles of {tiles.tile} px, {tiles.core} px of them core, read at scale {tiles.scale}; "
            f"stitched by {self.stitching.blend}; batches of {self.batch}",
        ]
        for ensemble in self.ensembles:
            views = ensemble.views if isinstance(ensemble.views, str) else ", ".join(ensemble.views)
            thresholds = ", ".join(f"{threshold:g}" for threshold in ensemble.thresholds)
            merge = ensemble.merge
            lines.append(
                f"{ensemble.name}: runs {', '.join(ensemble.runs)}; views {views}, {merge.views}; "
                f"folds {merge.folds}; models {merge.models}; threshold {thresholds}"
            )
        return "\n".join(lines)

    @property
    def fingerprint(self) -> str:
        """A short hash of all that a mask depends on: masks are reused only under the same one."""
        settings = self.model_dump_json(exclude={"name", "summary", "competition", "hours"})
        return hashlib.sha256(settings.encode()).hexdigest()[:16]


def _first_problem(model: type[BaseModel], error: ValidationError) -> str:
    """One finding of a failed validation, as a sentence that names the key.

    A misspelt key comes first: it is often the reason why another seems to be missing.
    """
    problems = sorted(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    problem = problems[0]
    place = ".".join(str(part) for part in problem["loc"]) or "the recipe"
    if problem["type"] == "extra_forbidden":
        known = _keys_at(model, problem["loc"][:-1])
        close = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1)
        remedy = f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}."
        return f"the key {place} does not exist; {remedy}"
    if problem["type"] == "missing":
        return f"the key {place} is missing; add it."
    message = problem["msg"].removeprefix("Value error, ")
    if isinstance(problem["input"], dict):
        return f"{place}: {message}."
    return f"{place}: {message} (found {problem['input']!r})."


def _keys_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The keys that the section at `location` of a recipe may have."""
    for part in location:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation
        model = next(kind for kind in _models_in(annotation))
    return sorted(model.model_fields)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for part in getattr(annotation, "__args__", ()) for m in _models_in(part)]
