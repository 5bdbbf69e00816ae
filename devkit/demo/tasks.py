"""What a network learns from masks: its loss, its answers, and how good they are."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from devkit.demo.crops import NO_DATA, Tensors
from devkit.demo.runs import Task
from kernelkit.mask import BitMask

__all__ = ["answers", "dice", "loss", "score"]


def loss(task: Task, logits: Tensor, masks: Tensor) -> Tensor:
    """The loss of a batch, given the masks (N, K, H, W) of its pictures.

    Pixels without data take no part in it.
    """
    ignored = int(NO_DATA)
    if task == "empty":
        return F.cross_entropy(logits, _holds_any(masks))
    if task == "softmax":
        labels = masks[:, 0].long()
        lovasz = smp.losses.LovaszLoss(smp.losses.MULTICLASS_MODE, ignore_index=ignored)
        entropy = F.cross_entropy(logits, labels, ignore_index=ignored)
        return entropy + lovasz(logits, labels)
    mode = smp.losses.BINARY_MODE if masks.shape[1] == 1 else smp.losses.MULTILABEL_MODE
    overlap = smp.losses.DiceLoss(mode, from_logits=True, ignore_index=ignored)
    held = (masks != NO_DATA).float()
    entropy = F.binary_cross_entropy_with_logits(logits, masks * held, weight=held)
    return entropy + overlap(logits, masks)


def answers(task: Task, network: nn.Module, pixels: Tensor) -> np.ndarray:
    """The probabilities that a network gives for one image, float32.

    The network sees the whole image at once. Its right and lower edges are mirrored up to a
    multiple of 32.

    Parameters
    ----------
    network
        The network. It is left in evaluation mode.
    pixels
        The normalised image, (C, H, W).

    Returns
    -------
    (K, H, W) of each class but the background. For "empty" (1,), that it is not.
    """
    network.eval()
    height, width = pixels.shape[1:]
    padded = F.pad(pixels[None], (0, -width % 32, 0, -height % 32), mode="reflect")
    with torch.inference_mode():
        logits = network(padded.contiguous(memory_format=torch.channels_last))[0].float()
    probabilities = logits.sigmoid() if task == "sigmoid" else logits.softmax(0)[1:]
    return np.asarray(probabilities[..., :height, :width] if logits.ndim == 3 else probabilities)


def score(task: Task, network: nn.Module, images: Sequence[Tensors]) -> float:
    """How good a network is: Dice over all data, or the share of pictures judged rightly."""
    found = [answers(task, network, pixels) > 0.5 for pixels, _ in images]
    if task == "empty":
        truth = [bool((masks > 0).any()) for _, masks in images]
        return float(
            np.mean([bool(one[0]) == true for one, true in zip(found, truth, strict=True)])
        )
    held = [masks.numpy() != NO_DATA for _, masks in images]
    found = [one & there for one, there in zip(found, held, strict=True)]
    return dice(found, [masks.numpy() > 0.5 for _, masks in images])


def dice(predicted: Iterable[np.ndarray], labels: Iterable[np.ndarray]) -> float:
    """Dice over the pixels of all bool masks together. It is 1 if all masks are empty."""
    return _side_by_side(predicted).dice(_side_by_side(labels))


def _side_by_side(masks: Iterable[np.ndarray]) -> BitMask:
    """Masks of any sizes as one long mask."""
    return BitMask.from_array(np.concatenate([mask.ravel() for mask in masks])[np.newaxis])


def _holds_any(masks: Tensor) -> Any:
    return (masks > 0).flatten(1).any(1).long()
