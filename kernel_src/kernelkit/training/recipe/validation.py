"""The section about validation."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from kernelkit.recipe.section import Section

__all__ = ["Validate"]

Metric = Literal["dice", "dice_per_image", "iou", "mean_iou", "f1", "mean_f1", "accuracy"]


class Validate(Section):
    """How weights are judged on the images of the fold.

    Attributes
    ----------
    every
        After how many epochs they are. The last epoch always is.
    metric
        "dice", "iou" and "f1" are over all pixels of the fold. "dice_per_image" is the mean of the
        images. "mean_iou" and "mean_f1" are means over the classes, the background too. "accuracy"
        is the share of pictures that a classifier judges rightly.
    threshold
        A pixel is on if its probability is above it.
    floor
        A checkpoint is saved only above this score.
    """

    every: PositiveInt = 1
    metric: Metric = "dice"
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    floor: Annotated[float, Field(ge=0, lt=1)] = 0.0
