"""The terms of the loss: what the libraries have, put right where it is not what one would think.

- Their mean counts pixels that are ignored. Here it is over the pixels with data.
- smp's Dice and Jaccard take no soft labels of classes that exclude each other. They do here.
- Its focal loss of such classes is a sigmoid of each. Here it is a softmax.
- Its Lovász loss of several classes by sigmoid sorts all of them together. Here each is by itself.
- It loses the whole batch if a crop holds no data, with one value per crop. Here that crop is 0.

Each function takes its section of the recipe. Then come logits and wanted probabilities, both
(N, C, H, W), or (N, C) of labels. The last is where there is data, (N, H, W) float32.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from kernelkit.training.recipe.objective import (
        BinaryEntropy,
        CrossEntropy,
        Focal,
        Lovasz,
        Overlap,
        Tversky,
    )

__all__ = ["LABELLED", "LABELS_SIGMOID", "LABELS_SOFTMAX", "MASKS_SIGMOID", "MASKS_SOFTMAX"]

# Above this share a pixel counts as labelled, if it has to be one or the other.
LABELLED = 0.5
# What the libraries' losses leave out, as a label.
_IGNORED = -1
_MULTILABEL, _BINARY = smp.losses.MULTILABEL_MODE, smp.losses.BINARY_MODE

type Term = Callable[..., Tensor]


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
    labels = (wanted > LABELLED).to(logits.dtype)
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


MASKS_SIGMOID: Mapping[str, Term] = {
    "bce": _bce,
    "dice": partial(_overlap_sigmoid, "dice"),
    "jaccard": partial(_overlap_sigmoid, "jaccard"),
    "tversky": partial(_overlap_sigmoid, "tversky"),
    "focal": _focal,
    "lovasz": _lovasz_sigmoid,
}
MASKS_SOFTMAX: Mapping[str, Term] = {
    "ce": _ce,
    "dice": partial(_overlap_softmax, "dice"),
    "jaccard": partial(_overlap_softmax, "jaccard"),
    "tversky": partial(_overlap_softmax, "tversky"),
    "focal": _focal_softmax,
    "lovasz": _lovasz_softmax,
}
LABELS_SIGMOID: Mapping[str, Term] = {
    "bce": _bce_of_labels,
    "focal": _focal_of_labels,
}
LABELS_SOFTMAX: Mapping[str, Term] = {
    "ce": _ce_of_labels,
    "focal": _focal_softmax_of_labels,
}
