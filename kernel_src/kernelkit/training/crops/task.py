"""`CropTask`: what a worker does. It reads crops of a batch and moves their pixels."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernelkit.reader.shared import LocalArray, SharedArena
from kernelkit.training.augment.plan import CROP_DRAWS, Plan
from kernelkit.training.crops.batch import Layout
from kernelkit.training.crops.draws import crop_generator
from kernelkit.training.crops.geometry import Placement, crop_window, oriented, place, warped
from kernelkit.training.crops.sources import TrainingWindow

__all__ = ["CropTask"]

# A worker process's cache of decoded blocks, in bytes. Cuts need none.
_CACHE_BYTES = 1 << 20
# The least share, of 255, of data in a resampled pixel that holds data.
_LEAST_HELD = 254


class CropTask(NamedTuple):
    """All that a worker must know to make some crops of a batch.

    Attributes
    ----------
    memory
        Where the batch goes.
    slot
        Which batch of that memory it is.
    layout
        How its arrays lie there.
    windows
        What the crops are cut from.
    place, number
        The number of the first of them in the batch, and in the epoch.
    plan
        How they are augmented.
    random
        The probability that a crop lies anywhere in its window.
    seed, epoch
        Where the crops' random numbers come from.
    """

    memory: LocalArray | SharedArena
    slot: int
    layout: Layout
    windows: tuple[TrainingWindow, ...]
    place: int
    number: int
    plan: Plan
    random: float
    seed: int
    epoch: int

    @property
    def cache_bytes(self) -> int:
        """The size of a worker process's cache of decoded blocks."""
        return _CACHE_BYTES

    @property
    def together(self) -> bytes | None:
        """Any worker may make any crop."""
        return None

    def run(self, _slides: Any) -> tuple[NDArray[np.float32], bool]:
        """Make the crops. Return their numbers, and whether all of their pixels hold data."""
        pixels, labels, held = self.layout.arrays(self.memory.array[self.slot])
        draws = np.empty((len(self.windows), self.plan.draws), np.float32)
        is_whole = True
        size = self.layout.height, self.layout.width
        for index, source in enumerate(self.windows):
            generator = crop_generator(self.seed, self.epoch, self.number + index)
            numbers = draws[index] = generator.random(self.plan.draws, np.float32)
            crop = crop_window(source.window, size, numbers[:CROP_DRAWS].tolist(), self.random)
            placement = place(crop, self.plan.moves, numbers)
            at = self.place + index
            is_whole &= _make(source, placement, pixels[at], labels[at], held[at])
        return draws, is_whole


def _make(
    source: TrainingWindow,
    placement: Placement,
    pixels: np.ndarray,
    labels: np.ndarray,
    held: np.ndarray,
) -> bool:
    """Read a crop into its arrays. Return whether all of its pixels hold data."""
    window, matrix = placement.window, placement.matrix
    read_pixels = source.image.read_pixels(window)
    read_labels = source.read_labels(window)
    read_held = source.read_held(window)
    if matrix is None:
        pixels[...] = oriented(read_pixels, placement.orientation)
        labels[...] = oriented(read_labels, placement.orientation)
        held[...] = True if read_held is None else oriented(read_held, placement.orientation)
        return read_held is None
    warped(read_pixels, matrix, pixels)
    warped(read_labels, matrix, labels)
    if read_held is None:
        held[...] = True
        return True
    share = np.empty((1, *held.shape), np.uint8)
    warped(read_held[np.newaxis].view(np.uint8) * np.uint8(255), matrix, share)
    held[...] = share[0] >= _LEAST_HELD
    # A mean of data and of no data is neither. So what holds no data stays what it was.
    nearest = np.empty_like(pixels)
    warped(read_pixels, matrix, nearest, nearest=True)
    np.copyto(pixels, nearest, where=~held)
    return False
