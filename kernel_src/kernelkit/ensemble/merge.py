"""How several answers for the same tiles become one, and in which domain.

Answers are taken one by one and never stacked. So the merge of sixteen members needs the memory of
two. All arithmetic is in float32, and no answer is changed in place. The weights w sum to one.
`mean` is sum(w x). `gmean` is exp(sum(w log p)). `max` is the largest answer. `tsharpen` is
sum(w p^t): it raises low probabilities if t < 1, and t = 0 means the plain mean. `vote` is the
weight of those that say yes. They say it to p > 1/2, or under softmax to the likeliest class.

>>> answers = [torch.tensor([0.25]), torch.tensor([1.0])]
>>> combine(answers, "mean"), combine(answers, "gmean")
(tensor([0.6250]), tensor([0.5000]))
>>> combine(answers, "tsharpen", temperature=0.5), combine(answers, "vote")
(tensor([0.7500]), tensor([0.5000]))
"""

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import NamedTuple, get_args

import torch
from torch import Tensor

from kernelkit.errors import RecipeError
from kernelkit.vocabulary import Activation, Domain, MergeMethod, choices

__all__ = ["Answer", "combine", "convert"]

# The axis of the classes in an answer (N, K, h, w). Counted from the end, (K, h, w) works too.
_CLASSES = -3
# Nearer than this to 0 or 1, a probability cannot be recovered from its logit in float32.
_SMALLEST = 1e-7


class Answer(NamedTuple):
    """An answer (N, K, h, w), and the domain it is in."""

    values: Tensor
    domain: Domain

    def to(self, domain: Domain, activation: Activation) -> Tensor:
        """The values in a domain (see `convert`)."""
        return convert(self.values, self.domain, domain, activation)


def convert(answer: Tensor, source: Domain, target: Domain, activation: Activation) -> Tensor:
    """Take `answer` (..., K, h, w) from one domain to the other, in float32.

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
    how: MergeMethod,
    *,
    weights: Sequence[float] | None = None,
    temperature: float | None = None,
    activation: Activation = "sigmoid",
) -> Tensor:
    """Merge answers of one shape (..., K, h, w).

    Parameters
    ----------
    how
        The method (see the module).
    weights
        One per answer, positive. They need not sum to one, and `max` ignores them.
    temperature
        The t of `tsharpen`.
    activation
        Under softmax the results of `gmean` and `tsharpen` are scaled, so that the classes sum to
        one again.

    Raises
    ------
    RecipeError
        There are no answers, or there is no such method.
    ValueError
        The number of weights is not the number of answers.
    """
    if how not in get_args(MergeMethod):
        raise RecipeError(f'there is no way to merge "{how}". Choose {choices(MergeMethod)}')
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
        raise RecipeError("there is no answer to merge. An ensemble needs at least one member")
    if how == "max":
        return merged
    return _finish(merged if total == 1 else merged / total, how, activation)


def _term(
    answer: Tensor, how: MergeMethod, temperature: float | None, activation: Activation
) -> Tensor:
    """What one answer adds to the sum."""
    match how:
        case "mean" | "max":
            return answer
        case "gmean":
            return answer.log()
        case "tsharpen":
            return answer.pow(temperature) if temperature else answer
        case "vote" if activation == "sigmoid":
            return torch.where(answer.isnan(), answer, (answer > 0.5).float())
        case "vote":
            likeliest = answer.argmax(_CLASSES, keepdim=True)
            votes = torch.zeros_like(answer).scatter_(_CLASSES, likeliest, 1.0)
            return torch.where(answer.isnan(), answer, votes)


def _finish(merged: Tensor, how: MergeMethod, activation: Activation) -> Tensor:
    """The weighted mean of the terms, as a probability again."""
    if how == "gmean":
        merged = merged.exp()
    if activation == "softmax" and how in ("gmean", "tsharpen"):
        merged = merged / merged.sum(_CLASSES, keepdim=True).clamp_min(_SMALLEST)
    return merged
