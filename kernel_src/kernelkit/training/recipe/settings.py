"""What a run may say: the keys of train.yaml, apart from those about all runs."""

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
)

from kernelkit.recipe.labels import LabelsRecipe
from kernelkit.recipe.network import Band, Decibel, MinMax, _usual_decibel
from kernelkit.recipe.pyramid import PictureSize
from kernelkit.recipe.section import Section
from kernelkit.recipe.words import Below, Word, no_doubles
from kernelkit.training.recipe.augment import AugmentStep
from kernelkit.training.recipe.folds import FoldsRecipe
from kernelkit.training.recipe.network import Init, NetworkRecipe
from kernelkit.training.recipe.objective import Loss
from kernelkit.training.recipe.steps import Optimiser, Schedule
from kernelkit.training.recipe.validation import Validate
from kernelkit.training.recipe.windows import BlankRule, CropOrSize, Source, WindowSource
from kernelkit.vocabulary import Precision, Resample

__all__ = ["InputChanges", "RunKeys", "RunSettings"]

Task = Literal["segment", "classify"]


class InputChanges(Section):
    """What the networks are given, if the recipe that predicts leaves it to the run folders.

    Attributes
    ----------
    bands, decibel, minmax, divide, resample
        As in the recipe that predicts.
    mean, std
        The same, or "auto": then they are those of the training windows.
    """

    bands: Annotated[tuple[Band, ...], Field(min_length=1)] | None = None
    decibel: Annotated[Decibel | bool | None, BeforeValidator(_usual_decibel)] = None
    minmax: MinMax | None = None
    divide: Annotated[float, Field(gt=0)] | None = None
    mean: tuple[float, ...] | Literal["auto"] | None = None
    std: tuple[float, ...] | Literal["auto"] | None = None
    resample: Resample | None = None


def _words(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


_Several = Annotated[tuple[Word, ...], Field(min_length=1)]
Patterns = Annotated[
    _Several,
    BeforeValidator(_words, json_schema_input_type=Word | _Several),
    AfterValidator(no_doubles),
]
Share = Annotated[float, Field(ge=0, le=1)]


class RunKeys(Section):
    """What a run says, with the meaning that it has once everything is known.

    Attributes
    ----------
    ensemble
        The ensemble of the recipe that predicts with this run. Left out, it is the only one.
    images
        The training images, below the competition's folder: a folder, or a pattern as in a recipe.
    only
        Which of them are taken, as shell patterns of their ids.
    labels
        Their labels.
    folds
        Which images validate.
    size
        Height and width of whole pictures, if the recipe does not say which this run sees.
    windows
        Named kinds of windows. Left out, whole pictures are one window each.
    blank
        Which windows are blank and dropped.
    sources
        What crops are drawn from. Left out, all windows are, each once.
    crop
        The square that is cut out of a window. Left out, it is the whole window.
    augment
        Steps that change crops, in their order.
    task
        "segment", or "classify" for a gate, which says whether a picture's mask is empty.
    model
        The network.
    init
        The weights to begin with. Left out, they are random, or those that `model` names.
    freeze
        Parts of the network, and the share of the epochs in which they stay as they are.
    loss
        A weighted sum of terms.
    optimiser, schedule
        How weights change, and the course of the learning rate.
    epochs
        How many epochs.
    steps
        Batches per epoch. Left out, each window is drawn once, times its source's weight.
    batch
        Crops per step and device.
    accumulate
        How many batches one step of the optimiser adds up.
    ema
        The decay of the averaged weights, per step of the optimiser. Left out, none are averaged.
    precision
        The arithmetic: "auto", "fp32", "bf16" or "fp16".
    validate
        How weights are judged. With `null` they are not.
    keep
        Which checkpoints are saved: "best", "last" or both. With snapshots it is none beside them,
        if it is left out.
    patience
        After how many validations without a better score the training stops. Left out, it does not.
    seed
        Where all randomness begins.
    loggers
        Where curves and pictures go: "tensorboard", "mlflow" or both.
    """

    model_config = ConfigDict(protected_namespaces=())

    ensemble: Word | None = None
    images: Below
    only: Patterns = ("*",)
    labels: LabelsRecipe
    folds: FoldsRecipe
    size: PictureSize | None = None
    windows: dict[Word, WindowSource] = Field(default_factory=dict)
    blank: tuple[BlankRule, ...] = ()
    sources: dict[Word, Source] = Field(default_factory=dict)
    crop: CropOrSize | None = None
    augment: tuple[AugmentStep, ...] = ()
    task: Task = "segment"
    model: NetworkRecipe
    init: Init | None = None
    freeze: dict[Word, Share] = Field(default_factory=dict)
    loss: Loss
    optimiser: Optimiser = Optimiser()
    schedule: Schedule = Schedule()
    epochs: PositiveInt
    steps: PositiveInt | None = None
    batch: PositiveInt = 8
    accumulate: PositiveInt = 1
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    precision: Precision = "auto"
    validate_: Validate | None = Field(default=Validate(), alias="validate")
    keep: Annotated[tuple[Literal["best", "last"], ...], AfterValidator(no_doubles)] = ("best",)
    patience: PositiveInt | None = None
    seed: NonNegativeInt = 0
    loggers: Annotated[tuple[Literal["tensorboard", "mlflow"], ...], AfterValidator(no_doubles)] = (
        "tensorboard",
    )


class RunSettings(RunKeys):
    """A run as train.yaml has it, with all that its runs share.

    Attributes
    ----------
    input
        What the recipe that predicts leaves out about the network's input.
    """

    input: InputChanges = InputChanges()
