"""How stored answers become one: the arithmetic of `merge` in numpy, for bytes and without torch.

What a byte adds to a sum stands in a table of 256 numbers. So a layer costs one look-up per pixel,
whatever its terms are. torch would start threads for each step, which costs more than the step.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernelkit.jit import compiled
from kernelkit.recipe import MergeStep
from kernelkit.vocabulary import Activation, Domain

__all__ = ["StoredAnswer", "highest", "merge_answers", "merge_bytes"]

# The middle of what rounds to the byte 0. A logit of bytes lies no further out.
_LEAST = np.float32(1 / 1020)
_ALL = np.arange(256, dtype=np.float32)[:, None] / np.float32(255)


class StoredAnswer(NamedTuple):
    """An answer, float32 (K, n) for n pixels, and the domain it is in."""

    values: NDArray[np.float32]
    domain: Domain

    def to(self, domain: Domain, activation: Activation) -> NDArray[np.float32]:
        """The values in a domain. Under softmax the logits of probabilities are logarithms."""
        values = self.values
        if domain == self.domain:
            return values
        if domain == "logits":
            inside = values.clip(_LEAST, 1 - _LEAST)
            return np.log(inside if activation == "softmax" else inside / (1 - inside))
        if activation == "sigmoid":
            return 1 / (1 + np.exp(-values))
        powers: NDArray[np.float32] = np.exp(values - values.max(0))
        return powers / powers.sum(0)


def merge_answers(
    answers: Sequence[StoredAnswer],
    step: MergeStep,
    weights: Sequence[float],
    activation: Activation,
) -> StoredAnswer:
    """Merge answers by a step, as `merge.combine` does on the device."""
    if len(answers) == 1 and step.how in ("mean", "max"):
        return answers[0]
    terms = (_term(answer.to(step.of, activation), step, activation) for answer in answers)
    if step.how == "max":
        first, *others = terms
        for other in others:
            first = np.maximum(first, other)
        return StoredAnswer(first, step.of)
    total = np.zeros_like(answers[0].values)
    for term, share in zip(terms, _shares(weights), strict=True):
        total += term * share
    return StoredAnswer(_finished(total, step, activation), step.of)


def merge_bytes(
    layers: NDArray[np.uint8],
    places: Sequence[int],
    step: MergeStep,
    weights: Sequence[float],
    activation: Activation,
) -> StoredAnswer:
    """Merge some layers by a step.

    Parameters
    ----------
    layers
        `255 p`, rounded, (L, K, n).
    places
        Which layers are merged.
    weights
        One per place.
    """
    if step.how == "vote" and activation == "softmax":  # a vote looks at all classes
        answers = [StoredAnswer(layers[i] / np.float32(255), "probabilities") for i in places]
        return merge_answers(answers, step, weights, activation)
    values = StoredAnswer(_ALL, "probabilities").to(step.of, activation)
    table = _term(values, step, "sigmoid")[:, 0]
    flat = layers.reshape(len(layers), -1)
    if step.how == "max":
        total = table[highest(flat, np.array(places))]
    else:
        tables = table * _shares(weights)[:, None]
        total = _sum_of_tables(flat, np.array(places), tables)
    total = total.reshape(layers.shape[1:])
    return StoredAnswer(_finished(total, step, activation), step.of)


def _shares(weights: Sequence[float]) -> NDArray[np.float32]:
    return (np.array(weights, np.float64) / sum(weights)).astype(np.float32)


def _term(
    values: NDArray[np.float32], step: MergeStep, activation: Activation
) -> NDArray[np.float32]:
    """What one answer (K, n) adds to the sum."""
    match step.how:
        case "gmean":
            return np.log(values.clip(_LEAST, 1))
        case "tsharpen" if step.temperature:
            return values**step.temperature
        case "vote" if activation == "sigmoid":
            return (values > 0.5).astype(np.float32)
        case "vote":
            likeliest = values.argmax(0)
            return (likeliest == np.arange(len(values))[:, None]).astype(np.float32)
    return values


def _finished(
    merged: NDArray[np.float32], step: MergeStep, activation: Activation
) -> NDArray[np.float32]:
    """The weighted mean of the terms, as a probability again."""
    if step.how == "gmean":
        merged = np.exp(merged)
    if activation == "softmax" and step.how in ("gmean", "tsharpen"):
        merged = merged / np.maximum(merged.sum(0), np.float32(1e-7))
    return merged


@compiled
def _sum_of_tables(
    layers: NDArray[np.uint8], places: NDArray[np.int64], tables: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The sum (n,) of what the bytes of some layers (L, n) stand for, by a table per layer."""
    total = np.zeros(layers.shape[1], np.float32)
    for number in range(places.size):
        layer, table = layers[places[number]], tables[number]
        for i in range(total.size):
            total[i] += table[layer[i]]
    return total


@compiled
def highest(layers: NDArray[np.uint8], places: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The highest byte (n,) of some layers (L, n)."""
    most = layers[places[0]].copy()
    for number in range(1, places.size):
        layer = layers[places[number]]
        for i in range(most.size):
            most[i] = max(most[i], layer[i])
    return most
