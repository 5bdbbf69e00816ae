"""What the members are asked about: a batch of tiles, or of whole pictures at several sizes.

Both say how each scale of the pyramid sees them. They also say how a member's answer comes back to
the size at which all answers are merged.
"""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch.nn.functional as F
from torch import Tensor

from kernelkit.ensemble.merge import Answer, convert
from kernelkit.ensemble.scales import Scale
from kernelkit.vocabulary import Activation, Domain

__all__ = ["PictureQuestion", "Question", "TileQuestion", "padded"]


@dataclass(frozen=True, eq=False)
class Question(ABC):
    """A batch of N images, normalised and on the device.

    Attributes
    ----------
    inputs
        float32 (N, C, h, w), one or more.
    indices
        The images' numbers, which rotating views go by.
    """

    inputs: tuple[Tensor, ...]
    indices: Sequence[int]

    def __len__(self) -> int:
        return len(self.inputs[0])

    @property
    @abstractmethod
    def size(self) -> tuple[int, int]:
        """Height and width of the answers."""

    @abstractmethod
    def seen(self, scale: Scale) -> Tensor:
        """The images at a scale, padded at the right and below until its stride divides them.

        The padding repeats the border, and is cut off the answer again.
        """

    @abstractmethod
    def fitted(
        self, answer: Answer, scale: Scale, wanted: Domain, activation: Activation
    ) -> Answer:
        """A member's answer for what `seen` gave, at the size of all answers.

        Parameters
        ----------
        wanted
            The domain in which the answer is going to be merged.
        """

    @property
    def frame(self) -> Hashable:
        """All that the answers depend on, beside the members, the inputs and the indices."""
        return ()

    def part(self, places: Tensor) -> Self:
        """The images at the places, an int64 tensor (n,) on the device."""
        chosen = tuple(images[places] for images in self.inputs)
        return replace(self, inputs=chosen, indices=[self.indices[i] for i in places.tolist()])

    def filled(self, count: int) -> Self:
        """The images and as many empty ones as are missing from `count`."""
        missing = count - len(self)
        inputs = tuple(F.pad(images, (0, 0) * 3 + (0, missing)) for images in self.inputs)
        return replace(self, inputs=inputs, indices=[*self.indices, *range(missing)])

    def answer_bytes(self, classes: int, layers: int) -> int:
        """Bytes per image for the inputs, one view of them, and the answers during the merge.

        Parameters
        ----------
        layers
            How many answers are kept apart.
        """
        inputs = [images[0].numel() for images in self.inputs]
        areas = [images.shape[-2] * images.shape[-1] for images in self.inputs]
        height, width = self.size
        merging = 6 * max(*areas, height * width)  # of four levels
        kept = (layers - 1) * height * width
        return 4 * (sum(inputs) + max(inputs) + classes * (merging + kept))


@dataclass(frozen=True, eq=False)
class TileQuestion(Question):
    """A batch of tiles of any size. A zoom of the pyramid enlarges them on the device."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the tiles."""
        height, width = self.inputs[0].shape[-2:]
        return height, width

    def seen(self, scale: Scale) -> Tensor:
        """The tiles, enlarged or made smaller, and padded."""
        return padded(_resize(self.inputs[0], scale.step.size_of(*self.size)), scale.stride)

    def fitted(
        self, answer: Answer, scale: Scale, wanted: Domain, activation: Activation
    ) -> Answer:
        """The answer at the tiles' size. It is resized in the domain that it is merged in."""
        height, width = scale.step.size_of(*self.size)
        values = answer.to(wanted, activation)[..., :height, :width]
        return Answer(_resize(values, self.size), wanted)


@dataclass(frozen=True, eq=False)
class PictureQuestion(Question):
    """A batch of whole pictures of one size, which come at the size of each scale.

    Attributes
    ----------
    pads
        The pixels before and after the picture, on both axes, at the source's size.
    padded
        Height and width of the source with its pads.
    wanted
        Height and width of the answers.
    """

    pads: tuple[int, int]
    padded: tuple[int, int]
    wanted: tuple[int, int]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the answers."""
        return self.wanted

    @property
    def frame(self) -> Hashable:
        """Pads and sizes."""
        return self.pads, self.padded, self.wanted

    def seen(self, scale: Scale) -> Tensor:
        """The pictures as they came for this scale, and padded."""
        return padded(self.inputs[scale.place], scale.stride)

    def fitted(
        self, answer: Answer, scale: Scale, wanted: Domain, activation: Activation
    ) -> Answer:
        """The answer without pads, at the size of all answers.

        What is resized are probabilities, as published solutions resize them. The merge may be in
        the other domain. Bilinear resizing is OpenCV's: pixel centres are aligned, and shrinking
        does not average.
        """
        height, width = self.inputs[scale.place].shape[-2:]
        values, domain = answer.values[..., :height, :width], answer.domain
        inner = inner_window((height, width), self.pads, self.padded)
        if inner is not None:
            rows, columns = inner
            values = values[..., rows, columns]
            if tuple(values.shape[-2:]) == self.wanted:
                return Answer(convert(values, domain, wanted, activation), wanted)
        values = convert(values, domain, "probabilities", activation)
        if inner is None:
            before, _ = self.pads
            high, wide = (side - sum(self.pads) for side in self.padded)
            whole = _resize_as_opencv(values, self.padded)
            values = whole[..., before : before + high, before : before + wide]
        values = _resize_as_opencv(values, self.wanted)
        return Answer(convert(values, "probabilities", wanted, activation), wanted)


def inner_window(
    size: tuple[int, int], pads: tuple[int, int], padded: tuple[int, int]
) -> tuple[slice, slice] | None:
    """The rows and columns of a picture without its pads, or None if they end between pixels.

    Parameters
    ----------
    size
        Height and width of the picture as a network sees it, with its pads.
    pads, padded
        As of a `PictureQuestion`.
    """
    before, after = pads
    slices = []
    for side, whole in zip(size, padded, strict=True):
        if before * side % whole or after * side % whole:
            return None
        slices.append(slice(before * side // whole, side - after * side // whole))
    rows, columns = slices
    return rows, columns


def padded(images: Tensor, stride: int) -> Tensor:
    """Images (N, C, h, w) whose border is repeated at the right and below, up to the stride."""
    height, width = images.shape[-2:]
    margin = (0, -width % stride, 0, -height % stride)
    return F.pad(images, margin, mode="replicate") if any(margin) else images


def _resize(images: Tensor, size: Sequence[int]) -> Tensor:
    """Resize bilinearly, with pixel centres aligned. Shrinking averages."""
    if tuple(images.shape[-2:]) == tuple(size):
        return images
    return F.interpolate(images, tuple(size), mode="bilinear", antialias=True)


def _resize_as_opencv(images: Tensor, size: Sequence[int]) -> Tensor:
    """Resize bilinearly, as OpenCV's INTER_LINEAR. Shrinking does not average."""
    if tuple(images.shape[-2:]) == tuple(size):
        return images
    return F.interpolate(images, tuple(size), mode="bilinear", align_corners=False)
