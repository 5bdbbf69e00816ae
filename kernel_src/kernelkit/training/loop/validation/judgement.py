"""How good a network is on some images: counts, and the score that weights compete with."""

from dataclasses import dataclass, field

import numpy as np

from kernelkit.evaluation.metrics import Confusion, Counts

__all__ = ["Judgement"]


@dataclass
class Judgement:
    """How good a network is on some images.

    Attributes
    ----------
    counts
        Of each class, over all images.
    dices
        Of each image, the mean of its classes.
    confusion
        Which class is taken for which, over all images. None if nobody asks.
    right, asked
        How many tiles a classifier judged rightly, of how many.
    """

    counts: list[Counts] = field(default_factory=list)
    dices: dict[str, float] = field(default_factory=dict)
    confusion: Confusion | None = None
    right: int = 0
    asked: int = 0

    def __add__(self, other: "Judgement") -> "Judgement":
        both = [a + b for a, b in zip(self.counts, other.counts, strict=False)]
        confusions = [one.confusion for one in (self, other) if one.confusion is not None]
        return Judgement(
            both or self.counts or other.counts,
            self.dices | other.dices,
            confusions[0] + confusions[1] if len(confusions) > 1 else next(iter(confusions), None),
            self.right + other.right,
            self.asked + other.asked,
        )

    def score(self, metric: str) -> float:
        """The score that weights compete with.

        Parameters
        ----------
        metric
            "dice_per_image" is the mean of the images. "mean_iou" and "mean_f1" are means of the
            classes and the background. "accuracy" is the share of tiles that are judged rightly.
            Another property of `Counts` is over all images, and the mean of the classes.
        """
        if metric == "accuracy":
            return self.right / max(self.asked, 1)
        if metric == "dice_per_image":
            return float(np.mean(list(self.dices.values())))
        if metric in ("mean_iou", "mean_f1") and self.confusion is not None:
            return float(getattr(self.confusion, metric))
        return float(np.mean([getattr(each, metric) for each in self.counts]))
