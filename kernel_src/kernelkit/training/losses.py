"""`Objective`: the loss of a batch, as a weighted sum of terms by name."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from kernelkit.checkpoints.answers import masks_of
from kernelkit.errors import TrainingError
from kernelkit.training.loss_terms import (
    LABELLED,
    LABELS_SIGMOID,
    LABELS_SOFTMAX,
    MASKS_SIGMOID,
    MASKS_SOFTMAX,
)
from kernelkit.training.recipe import RunRecipe

__all__ = ["Objective"]


class Objective:
    """The loss of a run.

    Crops of one weight are judged together. The loss of a batch is the mean over its crops, each
    multiplied by its weight.

    Parameters
    ----------
    run
        Which terms there are, and what the network's outputs mean.
    """

    def __init__(self, run: RunRecipe) -> None:
        self._run = run
        is_softmax = run.activation == "softmax" and run.outputs > 1
        of_masks = MASKS_SOFTMAX if is_softmax else MASKS_SIGMOID
        of_labels = LABELS_SOFTMAX if is_softmax else LABELS_SIGMOID
        functions = of_labels if run.task == "classify" else of_masks
        self._is_softmax = is_softmax
        self._terms: list[tuple[float, Callable[..., Tensor]]] = [
            (term.weight, partial(functions[name], term))
            for name, term in run.loss.terms.items()
            if name != "aux"
        ]
        self._has_weights = any(source.loss_weight != 1 for source in run.sources.values())

    def __call__(
        self,
        answer: Any,
        targets: Tensor,
        held: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Return the loss.

        Parameters
        ----------
        answer
            What the network answers with: logits (N, C, H, W), or (N, C) of a classifier. With a
            classification head it is a pair of both.
        targets
            The share of each pixel that is labelled, float32 (N, K, H, W).
        held
            Where there is data, bool (N, H, W). None is everywhere.
        weights
            What the loss of each crop is multiplied by, (N,). None is 1.

        Raises
        ------
        TrainingError
            The answer is not of the shape that the run promises.
        """
        logits = masks_of(answer, Path(self._run.name))
        # sums over a batch lose too much in 16 bits
        with torch.autocast(logits.device.type, enabled=False):
            return self._of_batch(logits.float(), self._labels_of(answer), targets, held, weights)

    def _of_batch(
        self,
        logits: Tensor,
        labels: Tensor | None,
        targets: Tensor,
        held: Tensor | None,
        weights: Tensor | None,
    ) -> Tensor:
        self._check(logits, targets)
        if weights is None or not self._has_weights:
            return self._of_group(logits, labels, targets, held)
        total = logits.new_zeros(())
        for weight in weights.unique().tolist():
            chosen = weights == weight
            group = self._of_group(
                logits[chosen],
                None if labels is None else labels[chosen],
                targets[chosen],
                None if held is None else held[chosen],
            )
            total = total + weight * chosen.float().mean() * group
        return total

    def _of_group(
        self, logits: Tensor, labels: Tensor | None, targets: Tensor, held: Tensor | None
    ) -> Tensor:
        """The loss of crops of weight 1."""
        there = torch.ones_like(targets[:, 0]) if held is None else held.to(targets.dtype)
        if self._run.task == "classify":
            wanted = self._wanted_labels(targets, there)
        else:
            wanted = self._wanted_masks(targets)
        total = logits.new_zeros(())
        for weight, term in self._terms:
            total = total + weight * term(logits, wanted, there)
        if labels is not None and self._run.loss.aux is not None:
            total = total + self._run.loss.aux.weight * _of_head(labels, targets, there)
        return total

    def _wanted_masks(self, targets: Tensor) -> Tensor:
        """The wanted probabilities of the outputs, (N, C, H, W)."""
        run = self._run
        numbers = list(run.class_numbers)
        if not self._is_softmax and numbers == list(range(run.outputs)):
            return targets
        wanted = targets.new_zeros(len(targets), run.outputs, *targets.shape[2:])
        wanted[:, numbers] = targets
        if self._is_softmax:
            labelled = targets.sum(1)
            wanted /= labelled.clamp_min(1)[:, None]  # where classes overlap
            wanted[:, 0] = (1 - labelled).clamp_min(0)
        return wanted

    def _wanted_labels(self, targets: Tensor, there: Tensor) -> Tensor:
        """The wanted probabilities of a classifier's outputs, (N, C)."""
        gate = self._run.gate
        is_there = _present(targets, there)
        if gate is not None and gate.per_class:
            return is_there
        is_empty = 1 - is_there.amax(1, keepdim=True)
        first = is_empty if gate is None or gate.empty_class == 0 else 1 - is_empty
        return torch.cat([first, 1 - first], 1) if self._run.outputs > 1 else 1 - first

    def _labels_of(self, answer: Any) -> Tensor | None:
        """What the classification head answers with."""
        if self._run.loss.aux is None:
            return None
        if isinstance(answer, tuple | list) and len(answer) > 1 and isinstance(answer[1], Tensor):
            return answer[1].float()
        raise TrainingError(
            f"{self._run.name}: found loss.aux, but the network answers without the labels of a "
            "classification head. Let it answer with a pair of masks and labels"
        )

    def _check(self, logits: Tensor, targets: Tensor) -> None:
        run = self._run
        shape: tuple[int, ...] = (len(targets), run.outputs)
        if run.task == "segment":
            shape = (*shape, *targets.shape[2:])
        if tuple(logits.shape) != shape:
            raise TrainingError(
                f"{run.name}: the network answers with an array {tuple(logits.shape)}, wanted "
                f"{shape}. Correct model.classes, or the network"
            )


def _present(targets: Tensor, there: Tensor) -> Tensor:
    """Whether each class is anywhere in each crop, float32 (N, K)."""
    labelled = (targets > LABELLED) & (there > 0)[:, None]
    return labelled.flatten(2).any(2).float()


def _of_head(labels: Tensor, targets: Tensor, there: Tensor) -> Tensor:
    """The cross-entropy of a classification head's answer, (N, J)."""
    is_there = _present(targets, there)
    if labels.shape[1] == 2:
        return F.cross_entropy(labels, is_there.amax(1).long())
    wanted = is_there.amax(1, keepdim=True) if labels.shape[1] == 1 else is_there
    return F.binary_cross_entropy_with_logits(labels, wanted)
