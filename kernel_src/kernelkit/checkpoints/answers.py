"""What a network answers with, and how that is found out: by questions about noise.

Neither a program nor code of the user's own says in words what it takes and what it gives. So it
is asked about noise when it is loaded.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from kernelkit.errors import CheckpointError

__all__ = [
    "BANDS",
    "SIDES",
    "ValueKind",
    "as_logits",
    "as_numbers",
    "first_line",
    "in_words",
    "is_same",
    "kind_of_values",
    "masks_of",
    "noise",
    "place_of_masks",
]

# Sides of tiles and numbers of bands that a network is asked about, the likeliest first.
SIDES = (64, 224, 256, 512, 384, 128, 96, 192, 320, 448, 518, 640, 768, 1024, 32)
BANDS = (3, 1, 2, 4)
# Probabilities of classes that exclude each other or not, or None for logits.
ValueKind = Literal["sigmoid", "softmax"] | None

# What one tile's answer may differ by if it is asked again, of the largest answer.
_SAME = 1e-3
# Nearer than this to 0 or 1, a probability cannot be recovered from its logit in float32.
_SMALLEST = 1e-7
# Under these keys networks answer with their masks.
_MASK_KEYS = ("out", "logits", "masks", "mask", "pred", "output")


def noise(count: int, bands: int, size: tuple[int, int]) -> Tensor:
    """Tiles of normal noise, always the same."""
    return torch.randn(count, bands, *size, generator=torch.Generator().manual_seed(0))


def is_same(first: Tensor, second: Tensor) -> bool:
    """Whether two answers differ by rounding only. What is no number is said elsewhere."""
    numbers = first.isfinite()
    if not torch.equal(numbers, second.isfinite()):
        return False
    if not numbers.any():
        return True
    one, other = first[numbers], second[numbers]
    tolerance = _SAME * float(one.abs().max()) + 1e-6
    return float((other - one).abs().max()) <= tolerance


def kind_of_values(answered: Callable[[Tensor], Tensor], tiles: Tensor) -> ValueKind:
    """Take answers for probabilities if none of them is outside of 0 to 1.

    That must hold for strong noise, too.

    Parameters
    ----------
    answered
        What the network answers with for tiles (N, C, h, w): (N, K, ...).
    """
    answers = [answered(factor * tiles) for factor in (1, 4, -4)]
    lowest = float(torch.stack([a.min() for a in answers]).min())
    highest = float(torch.stack([a.max() for a in answers]).max())
    # also false for NaN, which the first image shows
    is_between = lowest >= 0 and highest <= 1
    if not is_between or lowest == highest == 0:
        return None
    return "softmax" if answers[0].shape[1] > 1 and _sums_to_one(answers[0]) else "sigmoid"


def as_logits(answer: Tensor, kind: ValueKind) -> Tensor:
    """Logits of what a network answers with."""
    match kind:
        case "softmax":
            return answer.float().clamp_min(_SMALLEST).log()
        case "sigmoid":
            return answer.float().logit(eps=_SMALLEST)
    return answer


def masks_of(answer: Any, path: Path) -> Tensor:
    """The masks in what a network answers with: a tensor, or the first or named one of several.

    Raises
    ------
    CheckpointError
        There is no tensor in it, or several under names that say nothing.
    """
    if isinstance(answer, Tensor):
        return answer
    if isinstance(answer, Mapping):
        tensors = {str(k): v for k, v in answer.items() if isinstance(v, Tensor)}
        if not tensors.keys().isdisjoint(_MASK_KEYS):
            return list(tensors.values())[place_of_masks(list(tensors))]
        if len(tensors) == 1:
            return next(iter(tensors.values()))
        raise CheckpointError(
            f"{path}: the network answers under {', '.join(tensors) or 'no names'}, and none of "
            f"them is known ({', '.join(_MASK_KEYS)}). Let it answer with the masks alone"
        )
    if isinstance(answer, Sequence) and len(answer) > 0 and not isinstance(answer, str):
        return masks_of(answer[0], path)  # the labels of a classification head come second
    raise CheckpointError(f"{path}: the network answers without a tensor. Let it answer with masks")


def as_numbers(answer: Tensor, path: Path) -> Tensor:
    """A network's answer in float32, if it may be logits or probabilities.

    Raises
    ------
    CheckpointError
        It has whole numbers, truth values or complex numbers.
    """
    if not answer.is_floating_point():
        kind = str(answer.dtype).removeprefix("torch.")
        raise CheckpointError(
            f"{path}: the network answers in {kind}, as after an argmax or a threshold, wanted "
            "logits or probabilities. Let it answer with what comes before"
        )
    return answer.float()


def place_of_masks(names: Sequence[str]) -> int:
    """Which of several answers has the masks: the one of a known name, or the first.

    >>> place_of_masks(["labels", "masks"]), place_of_masks(["output0", "output1"])
    (1, 0)
    """
    return next((names.index(key) for key in _MASK_KEYS if key in names), 0)


def in_words(size: Sequence[int]) -> str:
    """Height and width for a message.

    >>> in_words((64, 96))
    '64 x 96'
    """
    return " x ".join(str(side) for side in size)


def first_line(error: Exception) -> str:
    """The first line of what a library says, for a message in brackets."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0][:200].rstrip(".")


def _sums_to_one(answer: Tensor) -> bool:
    return bool(((answer.sum(1) - 1).abs() < 1e-2).all())
