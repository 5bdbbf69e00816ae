"""The sections about the steps of training: the optimiser, and the course of its learning rate."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from kernelkit.recipe.section import Section

__all__ = ["Optimiser", "Schedule"]

# Of timm's optimisers, those that need no package that the image lacks.
OptimiserName = Literal[
    "adabelief",
    "adafactor",
    "adam",
    "adamw",
    "adan",
    "adopt",
    "adoptw",
    "lamb",
    "lion",
    "madgrad",
    "momentum",
    "muon",
    "nadam",
    "nadamw",
    "radam",
    "radamw",
    "rmsprop",
    "sgd",
]
ScheduleName = Literal["constant", "cosine", "poly", "step"]
Beta = Annotated[float, Field(ge=0, lt=1)]
Rate = Annotated[float, Field(gt=0, le=10)]
_WITH_AMSGRAD = ("adam", "adamw", "adabelief")
_WITH_MOMENTUM = ("sgd", "momentum", "rmsprop", "muon", "madgrad")


class Optimiser(Section):
    """The optimiser, as timm makes it. Biases and norms have no weight decay.

    Attributes
    ----------
    name
        Its name in timm. "sgd" has Nesterov's momentum, and "momentum" the plain one.
    lr
        The highest learning rate of the schedule.
    weight_decay
        The decay of all other weights.
    amsgrad
        Whether Adam keeps the greatest second moment.
    momentum
        The momentum of "sgd", "momentum", "rmsprop", "muon" and "madgrad".
    betas
        The decay of both moments. Left out, it is the optimiser's own.
    eps
        What is added to the denominator. Left out, it is the optimiser's own.
    encoder_lr
        What the learning rate of the encoder is multiplied by.
    clip
        The largest norm of all gradients together. Left out, there is no limit.
    """

    name: OptimiserName = "adamw"
    lr: Rate = 1e-3
    weight_decay: NonNegativeFloat = 0.0
    amsgrad: bool = False
    momentum: Beta = 0.9
    betas: tuple[Beta, Beta] | None = None
    eps: PositiveFloat | None = None
    encoder_lr: PositiveFloat = 1.0
    clip: PositiveFloat | None = None

    @model_validator(mode="after")
    def _keys_of_its_name(self) -> Self:
        foreign = []
        if self.amsgrad and self.name not in _WITH_AMSGRAD:
            foreign.append("amsgrad")
        if "momentum" in self.model_fields_set and self.name not in _WITH_MOMENTUM:
            foreign.append("momentum")
        if self.betas is not None and self.name in _WITH_MOMENTUM:
            foreign.append("betas")
        if foreign:
            raise ValueError(
                f"found {' and '.join(foreign)} with {self.name}, which does not use it. Leave it"
                " out"
            )
        return self


_KEYS = {
    "constant": {"warmup", "warmup_lr"},
    "cosine": {"warmup", "warmup_lr", "min_lr", "restarts", "snapshots"},
    "poly": {"warmup", "warmup_lr", "power"},
    "step": {"warmup", "warmup_lr", "every", "factor"},
}


class Schedule(Section):
    """The course of the learning rate, from step to step.

    Attributes
    ----------
    name
        "cosine" goes down a cosine. "poly" is `(1 - t) ** power`. "step" falls by `factor` each
        `every` epochs. "constant" stays.
    warmup
        The share of all steps in which the rate goes up to its highest value first.
    warmup_lr
        Where it begins. The way up is half a cosine for "cosine", and straight for others.
    min_lr
        Where a cosine ends.
    restarts
        How many times the cosine runs, in equal periods.
    snapshots
        Whether the weights are saved at the end of each period.
    power
        The exponent of "poly".
    every, factor
        After how many epochs the rate falls, and what it is multiplied by.
    """

    name: ScheduleName = "cosine"
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0
    warmup_lr: NonNegativeFloat = 0.0
    min_lr: NonNegativeFloat = 0.0
    restarts: PositiveInt = 1
    snapshots: bool = False
    power: PositiveFloat = 0.9
    every: PositiveInt | None = None
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1

    @classmethod
    def short_forms(cls) -> Any:
        """Return the type of a name."""
        return ScheduleName

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _keys_of_its_name(self) -> Self:
        foreign = sorted(self.model_fields_set - _KEYS[self.name] - {"name"})
        if foreign:
            raise ValueError(
                f"found {' and '.join(foreign)} with {self.name}, which does not use it. Leave it"
                " out"
            )
        if self.name == "step" and self.every is None:
            raise ValueError("found the schedule step without every, wanted a number of epochs")
        if self.restarts > 1 and self.warmup:
            raise ValueError(
                f"found a warmup and {self.restarts} restarts, wanted one of them. Leave out the"
                " warmup"
            )
        return self
