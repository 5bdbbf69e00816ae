"""`BatchTask`: what a worker does. It reads the crops of a batch and moves their pixels."""

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from kernelkit.grid import Window
from kernelkit.reader.shared import LocalArray, SharedArena
from kernelkit.training.augment.plan import Plan
from kernelkit.training.crops.batch import Layout
from kernelkit.training.crops.draws import crop_generator
from kernelkit.training.crops.geometry import Placement, crop_window, oriented, place, warped

if TYPE_CHECKING:
    from kernelkit.training.cuts import CutImage

__all__ = ["BatchTask", "CropSource", "LabelSource"]

# A worker process's cache of decoded blocks, in bytes. Cuts need none.
_CACHE_BYTES = 1 << 20
# The least share, of 255, of data in a resampled pixel that holds data.
_LEAST_HELD = 254


class LabelSource(Protocol):
    """Labels that take the place of an image's own."""

    def read_labels(self, window: Window) -> NDArray[np.uint8]:
        """The labels of a window, (K, height, width)."""

    def read_held(self, window: Window) -> NDArray[np.bool_] | None:
        """Which pixels count, (height, width), or None if all do."""


class CropSource(NamedTuple):
    """Where a crop comes from.

    Attributes
    ----------
    image
        The image.
    labels
        Other labels than the image's own, or None.
    window
        The window that the crop is cut from.
    number
        Of the crop in its epoch.
    """

    image: "CutImage"
    labels: LabelSource | None
    window: Window
    number: int


class BatchTask(NamedTuple):
    """All that a worker must know to make a batch.

    Attributes
    ----------
    memory
        Where it goes.
    slot
        Which batch of that memory it is.
    layout
        How its arrays lie there.
    crops
        Where its crops come from.
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
    crops: tuple[CropSource, ...]
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
        """Any worker may make any batch."""
        return None

    def run(self, _slides: Any) -> tuple[NDArray[np.float32], bool]:
        """Make the batch. Return its random numbers, and whether all of its pixels hold data."""
        pixels, labels, held = self.layout.arrays(self.memory.array[self.slot])
        draws = np.empty((len(self.crops), self.plan.draws), np.float32)
        is_whole = True
        size = self.layout.height, self.layout.width
        for index, crop in enumerate(self.crops):
            generator = crop_generator(self.seed, self.epoch, crop.number)
            numbers = draws[index] = generator.random(self.plan.draws, np.float32)
            window = crop_window(crop.window, size, numbers.tolist(), self.random)
            placement = place(window, self.plan.moves, numbers)
            is_whole &= _make(crop, placement, pixels[index], labels[index], held[index])
        return draws, is_whole


def _make(
    crop: CropSource,
    placement: Placement,
    pixels: np.ndarray,
    labels: np.ndarray,
    held: np.ndarray,
) -> bool:
    """Read a crop into its arrays. Return whether all of its pixels hold data."""
    window, matrix = placement.window, placement.matrix
    read_pixels = crop.image.read_pixels(window)
    read_labels = (crop.labels or crop.image).read_labels(window)
    read_held = _held(crop, window)
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


def _held(crop: CropSource, window: Window) -> NDArray[np.bool_] | None:
    """Which pixels of a window the loss counts, or None if it counts all of them."""
    found = [crop.image.read_held(window)]
    if crop.labels is not None:
        found.append(crop.labels.read_held(window))
    inside = window.intersection(crop.image.bounds)
    if crop.image.fill == "zero" and inside != window:
        beside = np.zeros((window.height, window.width), np.bool_)
        if inside.area:
            beside[inside.relative_to(window).slices] = True
        found.append(beside)
    held = [each for each in found if each is not None]
    return np.logical_and.reduce(held) if held else None
