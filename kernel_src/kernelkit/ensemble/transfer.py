"""Tiles on their way up to the device, and answers on their way down, without making it wait.

On a GPU tiles are copied into pinned memory and from there by the card itself, on a stream of
their own, while it still computes on the batch before; answers come down into pinned memory, and
are waited for only when they are looked at. On a CPU nothing needs to move.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kernelkit.errors import DeviceError

__all__ = ["Pending", "Uploader"]


class Uploader:
    """Brings batches of tiles onto `device` in their own dtype."""

    def __init__(self, device: torch.device, slots: int = 2) -> None:
        self._device = device
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)
            self._slots = [_Slot() for _ in range(slots)]

    def __call__(self, tiles: Sequence[NDArray] | NDArray) -> Tensor:
        """The tiles (N, C, h, w), or a list of N tiles (C, h, w), as a tensor on the device."""
        if self._device.type != "cuda":
            stacked = np.stack(tiles) if isinstance(tiles, Sequence) else tiles
            # torch wants to be able to write to what it shares
            return torch.from_numpy(np.require(stacked, requirements=["C", "W"]))
        slot = self._slots[0]
        self._slots = [*self._slots[1:], slot]
        pinned = slot.take(tiles)
        with torch.cuda.stream(self._stream):
            uploaded = pinned.to(self._device, non_blocking=True)
            slot.uploaded.record(self._stream)
        computing = torch.cuda.current_stream(self._device)
        computing.wait_event(slot.uploaded)
        uploaded.record_stream(computing)
        return uploaded


class _Slot:
    """Pinned memory for one batch, used again once its last upload is over."""

    def __init__(self) -> None:
        self.uploaded = torch.cuda.Event()
        self._bytes = torch.empty(0, dtype=torch.uint8)

    def take(self, tiles: Sequence[NDArray] | NDArray) -> Tensor:
        """Copy the tiles in; the answer shares the slot's memory."""
        self.uploaded.synchronize()
        shape = (len(tiles), *tiles[0].shape)
        dtype = torch.from_numpy(np.empty(0, tiles[0].dtype)).dtype
        size = int(np.prod(shape)) * dtype.itemsize
        if len(self._bytes) < size:
            self._bytes = torch.empty(size, dtype=torch.uint8, pin_memory=True)
        pinned = self._bytes[:size].view(dtype).view(shape)
        view = pinned.numpy()
        for place, tile in zip(view, tiles, strict=True):
            place[...] = tile
        return pinned


class Pending:
    """Answers for a batch of tiles, which may still be on their way from the device."""

    def __init__(self, parts: Sequence[Tensor], valid: Tensor) -> None:
        """`parts` (n, ...) are the answers for the first n tiles, then for the next, and so on.

        `valid` is one bool on the same device: whether the answers are worth anything.
        """
        self._arrived: torch.cuda.Event | None = None
        self._valid = valid
        self._parts = list(parts)
        if valid.device.type == "cuda":
            self._valid, *self._parts = (_coming_down(tensor) for tensor in (valid, *parts))
            self._arrived = torch.cuda.Event()
            self._arrived.record()

    def result(self) -> list[NDArray]:
        """One array a tile, after waiting for them where needed.

        Raises
        ------
        DeviceError
            The networks answered with what is no number.
        """
        if self._arrived is not None:
            self._arrived.synchronize()
        if not self._valid:
            raise DeviceError(
                "the networks answered with what is no number, as they do where float16 overflows; "
                "set the recipe's precision to bf16 or fp32."
            )
        return [tile for part in self._parts for tile in part.numpy()]


def _coming_down(tensor: Tensor) -> Tensor:
    """Pinned memory that the card is going to fill with `tensor`."""
    pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return pinned.copy_(tensor, non_blocking=True)
