"""The section about the loss: a weighted sum of terms by name."""

from typing import Annotated, Any, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator

from kernelkit.recipe.section import Section

__all__ = [
    "AuxTerm",
    "BinaryEntropy",
    "CrossEntropy",
    "Focal",
    "Loss",
    "Lovasz",
    "Overlap",
    "Tversky",
]

Smoothing = Annotated[float, Field(ge=0, lt=0.5)]
Weights = Annotated[tuple[NonNegativeFloat, ...], Field(min_length=1)]


class Term(Section):
    """What all terms have. A bare number is the weight.

    Attributes
    ----------
    weight
        What the term is multiplied by.
    """

    weight: PositiveFloat = 1.0

    @classmethod
    def short_forms(cls) -> Any:
        """Return the type of a weight."""
        return PositiveFloat

    @model_validator(mode="before")
    @classmethod
    def _from_weight(cls, value: Any) -> Any:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return {"weight": value} if is_number else value


class BinaryEntropy(Term):
    """Binary cross-entropy of each class by itself.

    Attributes
    ----------
    positive
        The weight of labelled pixels, one per class or one for all.
    smooth
        Label smoothing: labels become `smooth` and `1 - smooth`.
    """

    positive: Weights | None = None
    smooth: Smoothing = 0.0


class CrossEntropy(Term):
    """Cross-entropy over all classes.

    Attributes
    ----------
    class_weights
        One per output, the background first.
    smooth
        Label smoothing: this share of a label is spread over all classes.
    """

    class_weights: Weights | None = None
    smooth: Smoothing = 0.0


class Overlap(Term):
    """One minus the index of probabilities and labels.

    Attributes
    ----------
    per_image
        Whether it is the mean over the crops. Else it is over all pixels of the batch together.
    smooth
        Added to numerator and denominator, in pixels.
    log
        Whether it is the negative logarithm instead of one minus.
    background
        Whether the background counts as a class, with softmax.
    """

    per_image: bool = False
    smooth: NonNegativeFloat = 0.0
    log: bool = False
    background: bool = True


class Tversky(Overlap):
    """One minus Tversky's index of probabilities and labels.

    Attributes
    ----------
    alpha, beta
        The weights of what is found wrongly, and of what is missed.
    gamma
        The power to which the loss is raised.
    """

    alpha: NonNegativeFloat = 0.5
    beta: NonNegativeFloat = 0.5
    gamma: PositiveFloat = 1.0


class Focal(Term):
    """The focal loss.

    Attributes
    ----------
    gamma
        How little well-found pixels count.
    alpha
        The weight of labelled pixels against others, with sigmoid.
    """

    gamma: NonNegativeFloat = 2.0
    alpha: Annotated[float, Field(gt=0, lt=1)] | None = None


class Lovasz(Term):
    """Lovász' extension of the Jaccard loss: softmax over classes, or the hinge of each.

    Attributes
    ----------
    per_image
        Whether it is the mean over the crops. Else it is over all pixels of the batch together.
    """

    per_image: bool = False


class AuxTerm(Term):
    """The cross-entropy of the classification head beside the masks."""


class Loss(Section):
    """A weighted sum of terms. Each has a weight, or a weight with arguments.

    Attributes
    ----------
    bce
        Binary cross-entropy, with sigmoid.
    ce
        Cross-entropy, with softmax.
    dice, jaccard, tversky
        The overlap of probabilities and labels.
    focal, lovasz
        The focal loss, and Lovász' extension of the Jaccard loss.
    aux
        The classification head of `aux_params`.
    """

    bce: BinaryEntropy | None = None
    ce: CrossEntropy | None = None
    dice: Overlap | None = None
    jaccard: Overlap | None = None
    tversky: Tversky | None = None
    focal: Focal | None = None
    lovasz: Lovasz | None = None
    aux: AuxTerm | None = None

    @model_validator(mode="after")
    def _has_a_term(self) -> Self:
        if not set(self.terms) - {"aux"}:
            raise ValueError("found no term, wanted at least one, such as bce: 1")
        return self

    @property
    def terms(self) -> dict[str, Term]:
        """The terms by their names."""
        terms = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: term for name, term in terms.items() if term is not None}
