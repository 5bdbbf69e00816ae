"""How several answers for the same tiles become one, and the domain in which they do.

Answers are taken one by one and never stacked, so that merging sixteen members needs the memory
of two. All arithmetic is in float32, and no answer is changed in place. Written as formulas, with
weights w that sum to one: mean sum(w x); gmean exp(sum(w log p)); tsharpen sum(w p^t), which raises
low probabilities for t < 1, and is the plain mean for t = 0; max; vote: the weight of those that
say yes (p > 1/2, or under softmax the likeliest class).

>>> answers = [torch.tensor([0.25]), torch.tensor([1.0])]
>>> combine(answers, "mean"), combine(answers, "gmean")
(tensor([0.6250]), tensor([0.5000]))
>>> combine(answers, "tsharpen", temperature=0.5), combine(answers, "vote")
(tensor([0.7500]), tensor([0.5000]))
"""

from collections.abc import Iterable, Sequence
from itertools import repeat

import torch
from torch import Tensor

from kernelkit.errors import RecipeError
from kernelkit.vocabulary import Activation, Domain

__all__ = ["combine", "convert"]

# The classes' axis of an answer (N, K, h, w), counted from the end so that (K, h, w) works too.
_CLASSES = -3
# Nearer than this to 0 or 1, float32 could not give the probability of a logit back.
_SMALLEST = 1e-7


def convert(answer: Tensor, source: Domain, target: Domain, activation: Activation) -> Tensor:
    """`answer` (..., K, h, w) taken from one domain to the other, in float32.

    A probability of 0 or 1 becomes a logit of about -16 or 16, and back within 1e-7 of itself.
    Under softmax the logits of probabilities are their logarithms.
    """
    answer = answer.float()
    if source == target:
        return answer
    if target == "probabilities":
        return answer.sigmoid() if activation == "sigmoid" else answer.softmax(_CLASSES)
    if activation == "sigmoid":
        return answer.logit(eps=_SMALLEST)
    return answer.clamp_min(_SMALLEST).log()


def combine(
    answers: Iterable[Tensor],
    how: str,
    *,
    weights: Sequence[float] | None = None,
    temperature: float | None = None,
    activation: Activation = "sigmoid",
) -> Tensor:
    """Merge answers of one shape (..., K, h, w) by mean, gmean, max, vote or tsharpen.

    `weights`, one an answer and positive, need not sum to one; `max` takes no notice of them.
    Under softmax gmean and tsharpen are scaled so that the classes sum to one again.

    Raises
    ------
    RecipeError
        No answers, or no way to merge of that name.
    ValueError
        Not one weight an answer.
    """
    merged: Tensor | None = None
    total = 0.0
    shares = repeat(1.0) if weights is None else weights
    for answer, share in zip(answers, shares, strict=weights is not None):
        term = _term(answer.float(), how, temperature, activation)
        total += share
        if merged is None:
            merged = term.clone() if how == "max" else term * share
        elif how == "max":
            merged = torch.maximum(merged, term)
        else:
            merged.add_(term, alpha=share)
    if merged is None:
        raise RecipeError("there is no answer to merge; an ensemble needs at least one member.")
    return merged if how == "max" else _finish(merged / total, how, activation)


def _term(answer: Tensor, how: str, temperature: float | None, activation: Activation) -> Tensor:
    """What of one answer is added up."""
    match how:
        case "mean" | "max":
            return answer
        case "gmean":
            return answer.log()
        case "tsharpen":
            return answer.pow(temperature) if temperature else answer
        case "vote" if activation == "sigmoid":
            return (answer > 0.5).float()
        case "vote":
            likeliest = answer.argmax(_CLASSES, keepdim=True)
            return torch.zeros_like(answer).scatter_(_CLASSES, likeliest, 1.0)
    raise RecipeError(f"{how} is no way to merge; use mean, gmean, max, vote or tsharpen.")


def _finish(merged: Tensor, how: str, activation: Activation) -> Tensor:
    """The weighted mean of the terms, taken back to a probability."""
    if how == "gmean":
        merged = merged.exp()
    if activation == "softmax" and how in ("gmean", "tsharpen"):
        merged = merged / merged.sum(_CLASSES, keepdim=True).clamp_min(_SMALLEST)
    return merged
