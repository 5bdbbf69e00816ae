"""`CropBatch`: crops of one size, as the workers made them. And how its arrays lie in memory."""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["CropBatch", "Layout"]

# Each array of a batch begins at a multiple of this many bytes.
_ALIGNMENT = 64


@dataclass(frozen=True, eq=False)
class CropBatch:
    """Crops of one size. Colours, normalisation and float targets are made of it on the device.

    Attributes
    ----------
    pixels
        (N, C, S, S) in the source's dtype.
    labels
        uint8 (N, K, S, S), the share of each pixel that is of a class. 255 is all of it.
    held
        Where there is data, bool (N, S, S). None if everywhere.
    weights
        What the loss of each crop is multiplied by, float32 (N).
    draws
        The random numbers of each crop, float32 (N, D). They stay in host memory.
    """

    pixels: "Tensor"
    labels: "Tensor"
    held: "Tensor | None"
    weights: "Tensor"
    draws: "Tensor"

    def __len__(self) -> int:
        return len(self.weights)

    def to(self, device: "torch.device | str", non_blocking: bool = False) -> Self:
        """The same batch, with all but its random numbers on the device."""
        held = None if self.held is None else self.held.to(device, non_blocking=non_blocking)
        return replace(
            self,
            pixels=self.pixels.to(device, non_blocking=non_blocking),
            labels=self.labels.to(device, non_blocking=non_blocking),
            held=held,
            weights=self.weights.to(device, non_blocking=non_blocking),
        )


class Layout(NamedTuple):
    """The arrays of a batch, one after the other in one piece of memory.

    Attributes
    ----------
    crops
        How many.
    bands, classes, height, width
        Of a crop.
    dtype
        Of its pixels.
    """

    crops: int
    bands: int
    classes: int
    height: int
    width: int
    dtype: np.dtype

    @property
    def nbytes(self) -> int:
        """The size of a batch."""
        return sum(size for _, _, size in self._parts())

    def arrays(self, memory: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pixels, labels and where there is data, as views of uint8 memory."""
        views, start = [], 0
        for shape, dtype, size in self._parts():
            used = math.prod(shape) * dtype.itemsize
            views.append(memory[start : start + used].view(dtype).reshape(shape))
            start += size
        pixels, labels, held = views
        return pixels, labels, held

    def _parts(self) -> list[tuple[tuple[int, ...], np.dtype, int]]:
        """The shape, the dtype and the size in bytes of each array."""
        plane = self.crops, self.height, self.width
        shapes = [
            ((self.crops, self.bands, *plane[1:]), self.dtype),
            ((self.crops, self.classes, *plane[1:]), np.dtype(np.uint8)),
            (plane, np.dtype(np.bool_)),
        ]
        return [
            (shape, dtype, -(-math.prod(shape) * dtype.itemsize // _ALIGNMENT) * _ALIGNMENT)
            for shape, dtype in shapes
        ]
