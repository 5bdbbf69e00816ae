"""`Objective`: the loss of a batch, as a weighted sum of terms by name.

What the libraries do otherwise than one would think is put right here:

- Their mean counts pixels that are ignored. Here it is over the pixels with data.
- smp's Dice and Jaccard take no soft labels of classes that exclude each other. They do here.
- Its focal loss of such classes is a sigmoid of each. Here it is a softmax.
- Its Lovász loss of several classes by sigmoid sorts all of them together. Here each is by itself.
- It loses the whole batch if a crop holds no data, with one value per crop. Here that crop is 0.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from torch import Tensor

from kernelkit.checkpoints.answers import masks_of
from kernelkit.errors import TrainingError
from kernelkit.training.recipe import RunRecipe

if TYPE_CHECKING:
    from kernelkit.training.recipe.objective import (
        BinaryEntropy,
        CrossEntropy,
        Focal,
        Lovasz,
        Overlap,
        Tversky,
    )

__all__ = ["Objective"]

# From this share on a pixel counts as labelled, if it has to be one or the other.
_LABELLED = 0.5
# What the libraries' losses leave out, as a label.
_IGNORED = -1
_MULTILABEL, _BINARY = smp.losses.MULTILABEL_MODE, smp.losses.BINARY_MODE


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
        of_masks = _SOFTMAX if is_softmax else _SIGMOID
        of_labels = _LABELS_SOFTMAX if is_softmax else _LABELS_SIGMOID
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
        logits = masks_of(answer, Path(self._run.name)).float()
        labels = self._labels_of(answer)
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
    labelled = (targets > _LABELLED) & (there > 0)[:, None]
    return labelled.flatten(2).any(2).float()


def _of_head(labels: Tensor, targets: Tensor, there: Tensor) -> Tensor:
    """The cross-entropy of a classification head's answer, (N, J)."""
    is_there = _present(targets, there)
    if labels.shape[1] == 2:
        return F.cross_entropy(labels, is_there.amax(1).long())
    wanted = is_there.amax(1, keepdim=True) if labels.shape[1] == 1 else is_there
    return F.binary_cross_entropy_with_logits(labels, wanted)


def _mean(values: Tensor, there: Tensor) -> Tensor:
    """The mean of (N, H, W), or of (N, C, H, W), over the pixels with data."""
    if values.ndim == 4:
        there = there[:, None].expand_as(values)
    return (values * there).sum() / there.sum().clamp_min(1)


def _smoothed(wanted: Tensor, smooth: float) -> Tensor:
    return wanted if not smooth else wanted * (1 - smooth) + (1 - wanted) * smooth


def _entropies(term: "BinaryEntropy", logits: Tensor, wanted: Tensor) -> Tensor:
    """The binary cross-entropy of each value of (N, C, ...)."""
    positive = None
    if term.positive is not None:
        positive = logits.new_tensor(term.positive).reshape(-1, *[1] * (logits.ndim - 2))
    return F.binary_cross_entropy_with_logits(
        logits, _smoothed(wanted, term.smooth), pos_weight=positive, reduction="none"
    )


def _bce(term: "BinaryEntropy", logits: Tensor, wanted: Tensor, there: Tensor) -> Tensor:
    return _mean(_entropies(term, logits, wanted), there)


def _bce_of_labels(term: "BinaryEntropy", logits: Tensor, wanted: Tensor, _: Tensor) -> Tensor:
    return _entropies(term, logits, wanted).mean()


def _ce(term: "CrossEntropy", logits: Tensor, wanted: Tensor, there: Tensor) -> Tensor:
    """The cross-entropy, divided by the weights of the labels as torch does it for whole ones."""
    count = logits.shape[1]
    weights = logits.new_tensor(term.class_weights or (1.0,) * count)
    weights = weights.reshape(-1, *[1] * (logits.ndim - 2))
    spread = wanted * (1 - term.smooth) + term.smooth / count
    values = -(weights * spread * logits.log_softmax(1)).sum(1)
    norm = (weights * wanted).sum(1)
    return (values * there).sum() / (norm * there).sum().clamp_min(1e-12)


def _ce_of_labels(term: "CrossEntropy", logits: Tensor, wanted: Tensor, _: Tensor) -> Tensor:
    return _ce(term, logits, wanted, torch.ones_like(logits[:, 0]))


def _focal(term: "Focal", logits: Tensor, wanted: Tensor, there: Tensor) -> Tensor:
    loss = smp.losses.FocalLoss(_BINARY, term.alpha, term.gamma, reduction="none")
    return _mean(loss(logits, wanted).reshape(logits.shape), there)


def _focal_of_labels(term: "Focal", logits: Tensor, wanted: Tensor, _: Tensor) -> Tensor:
    return smp.losses.FocalLoss(_BINARY, term.alpha, term.gamma)(logits, wanted)


def _focal_softmax(term: "Focal", logits: Tensor, wanted: Tensor, there: Tensor) -> Tensor:
    logs = logits.log_softmax(1)
    found = (wanted * logs.exp()).sum(1)
    return _mean((1 - found) ** term.gamma * -(wanted * logs).sum(1), there)


def _focal_softmax_of_labels(term: "Focal", logits: Tensor, wanted: Tensor, _: Tensor) -> Tensor:
    return _focal_softmax(term, logits, wanted, torch.ones_like(logits[:, 0]))


def _overlap(
    make: Callable[..., Any], term: "Overlap", probabilities: Tensor, wanted: Tensor, there: Tensor
) -> Tensor:
    """One minus an index of probabilities and labels, of all crops together or of each."""
    loss = make(_MULTILABEL, from_logits=False, smooth=term.smooth, log_loss=term.log)
    # where there is no data, both are 0
    probabilities, wanted = probabilities * there[:, None], wanted * there[:, None]
    if not term.per_image:
        return loss(probabilities, wanted)
    crops = zip(probabilities.split(1), wanted.split(1), strict=True)
    return torch.stack([loss(one, label) for one, label in crops]).mean()


def _maker(kind: str, term: Any) -> Callable[..., Any]:
    if kind == "tversky":
        return partial(smp.losses.TverskyLoss, alpha=term.alpha, beta=term.beta, gamma=term.gamma)
    return smp.losses.DiceLoss if kind == "dice" else smp.losses.JaccardLoss


def _overlap_sigmoid(
    kind: str, term: "Overlap | Tversky", logits: Tensor, wanted: Tensor, there: Tensor
) -> Tensor:
    return _overlap(_maker(kind, term), term, logits.sigmoid(), wanted, there)


def _overlap_softmax(
    kind: str, term: "Overlap | Tversky", logits: Tensor, wanted: Tensor, there: Tensor
) -> Tensor:
    first = 0 if term.background else 1
    found = logits.softmax(1)[:, first:]
    return _overlap(_maker(kind, term), term, found, wanted[:, first:], there)


def _crops(term: "Lovasz", logits: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """What is sorted together: all crops, or each by itself."""
    if term.per_image:
        yield from zip(logits.split(1), labels.split(1), strict=True)
    else:
        yield logits, labels


def _lovasz_sigmoid(term: "Lovasz", logits: Tensor, wanted: Tensor, there: Tensor) -> Tensor:
    loss = smp.losses.LovaszLoss(_BINARY, ignore_index=_IGNORED)
    labels = (wanted > _LABELLED).to(logits.dtype)
    labels = torch.where(there[:, None] > 0, labels, _IGNORED)
    return torch.stack(
        [
            loss(crop[:, number], label[:, number])
            for crop, label in _crops(term, logits, labels)
            for number in range(logits.shape[1])
        ]
    ).mean()


def _lovasz_softmax(term: "Lovasz", logits: Tensor, wanted: Tensor, there: Tensor) -> Tensor:
    loss = smp.losses.LovaszLoss(smp.losses.MULTICLASS_MODE, ignore_index=_IGNORED)
    labels = torch.where(there > 0, wanted.argmax(1), _IGNORED)
    # without any pixel it answers with an empty array, whose sum is 0
    crops = [loss(crop, label).sum() for crop, label in _crops(term, logits, labels)]
    return torch.stack(crops).mean()


_SIGMOID: Mapping[str, Callable[..., Tensor]] = {
    "bce": _bce,
    "dice": partial(_overlap_sigmoid, "dice"),
    "jaccard": partial(_overlap_sigmoid, "jaccard"),
    "tversky": partial(_overlap_sigmoid, "tversky"),
    "focal": _focal,
    "lovasz": _lovasz_sigmoid,
}
_SOFTMAX: Mapping[str, Callable[..., Tensor]] = {
    "ce": _ce,
    "dice": partial(_overlap_softmax, "dice"),
    "jaccard": partial(_overlap_softmax, "jaccard"),
    "tversky": partial(_overlap_softmax, "tversky"),
    "focal": _focal_softmax,
    "lovasz": _lovasz_softmax,
}
_LABELS_SIGMOID: Mapping[str, Callable[..., Tensor]] = {
    "bce": _bce_of_labels,
    "focal": _focal_of_labels,
}
_LABELS_SOFTMAX: Mapping[str, Callable[..., Tensor]] = {
    "ce": _ce_of_labels,
    "focal": _focal_softmax_of_labels,
}
