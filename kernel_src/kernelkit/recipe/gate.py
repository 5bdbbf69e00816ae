"""The section about a gate: networks that say what is empty."""

from typing import Annotated, Self

from pydantic import Field, NonNegativeInt, model_validator

from kernelkit.recipe.merge import MergeStep
from kernelkit.recipe.pyramid import PictureSize
from kernelkit.recipe.section import Section
from kernelkit.recipe.words import Checkpoints, Patterns

__all__ = ["Gate"]


class Gate(Section):
    """Which runs may say that a tile is empty. Its probability is then 0, and no decoder runs.

    A gate sees what the networks see: the normalised pixels, with their pads, in one view.

    Attributes
    ----------
    runs
        Glob patterns of runs. They are classifiers, or networks with a classification head.
    checkpoints
        Which checkpoints of a fold are taken, as of the ensemble. Left out, it is the ensemble's.
    empty_class
        The class that means empty. The sigmoid of a single output is the probability of class 1.
    per_class
        Whether the gate has one output per class of the ensemble. The sigmoid of each is the
        probability that the class is there. A class that is not there gets an empty mask.
    above
        A tile, or a class of it, is empty if the probability of that is above this.
    merge
        How the members' answers become one: logits of labels, or probabilities of emptiness.
    size
        Height and width at which the gate sees whole pictures. Left out, it sees the first scale
        of the pyramid.
    """

    runs: Patterns
    checkpoints: Checkpoints | None = None
    empty_class: NonNegativeInt = 0
    per_class: bool = False
    above: Annotated[float, Field(gt=0, lt=1)] = 0.5
    merge: MergeStep = MergeStep(of="probabilities")
    size: PictureSize | None = None

    @model_validator(mode="after")
    def _one_way_to_be_empty(self) -> Self:
        if self.per_class and "empty_class" in self.model_fields_set:
            raise ValueError(
                f"found per_class and empty_class {self.empty_class}, wanted one of them. With"
                " per_class each output is about its own class"
            )
        return self
