"""Bring tiles up to the device and answers down from it, without making the device wait.

On a GPU tiles are copied into pinned memory. The card fetches them from there on a stream of their
own, while it still computes the batch before. Answers come down into pinned memory too. Nothing
waits for them until they are looked at. On a CPU nothing needs to move.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kernelkit.errors import NotFiniteError

__all__ = ["Pending", "Uploader"]

_NOT_FINITE = "the networks gave NaN or infinity. Check their weights"


class Uploader:
    """Brings batches of tiles onto a device in their own dtype.

    Parameters
    ----------
    device
        Where the tiles are needed.
    buffers
        How many batches can be on their way at once.
    """

    def __init__(self, device: torch.device, buffers: int = 2) -> None:
        self._device = device
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)
            self._buffers = [_PinnedBuffer() for _ in range(buffers)]

    def __call__(self, tiles: Sequence[NDArray] | NDArray) -> Tensor:
        """The tiles (N, C, h, w), or a list of N tiles (C, h, w), as a tensor on the device."""
        if self._device.type != "cuda":
            stacked = np.stack(tiles) if isinstance(tiles, Sequence) else tiles
            # torch must be able to write to memory that it shares
            return torch.from_numpy(np.require(stacked, requirements=["C", "W"]))
        buffer = self._buffers[0]
        self._buffers = [*self._buffers[1:], buffer]
        pinned = buffer.take(tiles)
        with torch.cuda.stream(self._stream):
            uploaded = pinned.to(self._device, non_blocking=True)
            buffer.uploaded.record(self._stream)
        computing = torch.cuda.current_stream(self._device)
        computing.wait_event(buffer.uploaded)
        uploaded.record_stream(computing)
        return uploaded


class _PinnedBuffer:
    """Pinned memory for one batch. It is used again once its last upload is over."""

    def __init__(self) -> None:
        self.uploaded = _event()
        self._bytes = torch.empty(0, dtype=torch.uint8)

    def take(self, tiles: Sequence[NDArray] | NDArray) -> Tensor:
        """Copy the tiles in. The answer shares the buffer's memory."""
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
    """Answers for a batch of tiles or pictures, perhaps still on their way from the device.

    Parameters
    ----------
    parts
        Arrays (n, ...): the answers for the first n tiles, then for the next, and so on.
    valid
        One bool per tile, on the same device: whether its answer can be used.
    not_finite
        The error if it cannot.

    Attributes
    ----------
    not_finite
        As above.
    """

    def __init__(
        self, parts: Sequence[Tensor], valid: Tensor, not_finite: str = _NOT_FINITE
    ) -> None:
        self._arrived: torch.cuda.Event | None = None
        self._valid = valid
        self.not_finite = not_finite
        self._parts = list(parts)
        if valid.device.type == "cuda":
            self._valid, *self._parts = (_download(tensor) for tensor in (valid, *parts))
            self._arrived = _event()
            # on the stream of the copies, which need not be one of the thread's current device
            self._arrived.record(torch.cuda.current_stream(valid.device))

    def result(self) -> list[NDArray]:
        """One array per tile, once all have arrived.

        Raises
        ------
        NotFiniteError
            The networks gave NaN or infinity for one of them.
        """
        answers = [answer for answer in self.each() if answer is not None]
        if not self._valid.all():
            raise NotFiniteError(self.not_finite)
        return answers

    def each(self) -> list[NDArray | None]:
        """One array per tile, once all have arrived. None if the networks gave NaN or infinity."""
        if self._arrived is not None:
            self._arrived.synchronize()
        answers = (answer for part in self._parts for answer in part.numpy())
        valid = self._valid.tolist()
        return [answer if good else None for answer, good in zip(answers, valid, strict=True)]


def _event() -> torch.cuda.Event:
    """An event that threads sleep for. A plain one keeps a core busy, which readers need."""
    return torch.cuda.Event(blocking=True)


def _download(tensor: Tensor) -> Tensor:
    """Pinned memory that the card is going to fill with `tensor`."""
    pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return pinned.copy_(tensor, non_blocking=True)
