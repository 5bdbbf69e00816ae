"""Training images from a competition's folder, and random crops of them, turned and recoloured."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from kernelkit.mask import rle_decode
from kernelkit.slide import Slide

__all__ = ["NO_DATA", "Crops", "LabelledImage", "Tensors", "band_statistics", "read_labelled"]

# What masks hold where there is no data, so that nothing is learnt or judged there.
NO_DATA = -1.0
# Normalised pixels, (C, H, W) float32, and their masks, (K, H, W) float32 of 0, 1 and NO_DATA.
Tensors = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class LabelledImage:
    """An image and the masks of its classes.

    Attributes
    ----------
    id
        The image's id.
    pixels
        (C, H, W) in the image's own dtype.
    masks
        (K, H, W) bool.
    held
        Where there is data, (H, W) bool. None if everywhere.
    """

    id: str
    pixels: np.ndarray
    masks: np.ndarray
    held: np.ndarray | None = None

    def tensors(self, divide: float, mean: Sequence[float], std: Sequence[float]) -> Tensors:
        """`(pixels / divide - mean) / std` and the masks, as a network learns from them."""
        pixels = torch.from_numpy(self.pixels.astype(np.float32)) / divide
        pixels = (pixels - _by_band(mean)) / _by_band(std)
        masks = self.masks.astype(np.float32)
        if self.held is not None:
            masks[:, ~self.held] = NO_DATA
        return pixels, torch.from_numpy(masks)


def _by_band(values: Sequence[float]) -> Tensor:
    return torch.tensor(values).reshape(-1, 1, 1)


def read_labelled(images: Path, encodings: Path, prefix: str) -> list[LabelledImage]:
    """Read the images of a folder whose ids start with `prefix`, and their masks.

    Parameters
    ----------
    images
        The folder.
    encodings
        CSV file of `id,encoding` with the masks.
    prefix
        How the ids begin.
    """
    rows = pd.read_csv(encodings, keep_default_na=False)
    labelled = []
    for name, encoding in zip(rows["id"], rows["encoding"], strict=True):
        if not name.startswith(prefix):
            continue
        with Slide(images / f"{name}.tiff") as slide:
            pixels = slide.read(slide.bounds)
            mask = rle_decode(encoding, (slide.height, slide.width))
        labelled.append(LabelledImage(name, pixels, mask.astype(bool)[np.newaxis]))
    return labelled


def band_statistics(
    images: Sequence[LabelledImage], divide: float
) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each band over all data, after division by `divide`."""
    pixels = np.concatenate([_data_of(image) for image in images], 1)
    scaled = pixels / divide
    return scaled.mean(1).round(4).tolist(), scaled.std(1).round(4).tolist()


def _data_of(image: LabelledImage) -> np.ndarray:
    """The pixels that hold data, (C, N)."""
    flat = image.pixels.reshape(len(image.pixels), -1)
    return flat if image.held is None else flat[:, image.held.ravel()]


class Crops:
    """Random square crops of normalised images, in all eight orientations and other colours.

    Parameters
    ----------
    images
        Normalised images and their masks.
    side
        Side of a crop in pixels. A smaller image is mirrored at its edges up to that size.
    generator
        The source of all randomness.
    """

    def __init__(self, images: Sequence[Tensors], side: int, generator: torch.Generator) -> None:
        self._images = [_at_least(torch.cat(image), side) for image in images]
        self._bands = len(images[0][0])
        self._areas = torch.tensor([float(image[0].numel()) for image in self._images])
        self._side = side
        self._generator = generator

    def batch(self, count: int) -> Tensors:
        """Cut crops, (count, C, side, side), and their masks, (count, K, side, side)."""
        chosen = torch.multinomial(
            self._areas, count, replacement=True, generator=self._generator
        ).tolist()
        both = torch.stack([self._crop(self._images[index]) for index in chosen])
        return self._recoloured(both[:, : self._bands]), both[:, self._bands :]

    def _crop(self, image: Tensor) -> Tensor:
        row = self._random_below(image.shape[1] - self._side + 1)
        col = self._random_below(image.shape[2] - self._side + 1)
        crop = image[:, row : row + self._side, col : col + self._side]
        crop = torch.rot90(crop, self._random_below(4), (1, 2))
        return crop.flip(2) if self._random_below(2) else crop

    def _recoloured(self, pixels: Tensor) -> Tensor:
        """Change contrast and brightness, partly alike in all bands and partly not (stains)."""
        count, bands = pixels.shape[:2]
        gain = 0.2 * self._normal(count, 1, 1, 1) + 0.1 * self._normal(count, bands, 1, 1)
        shift = 0.2 * self._normal(count, 1, 1, 1) + 0.1 * self._normal(count, bands, 1, 1)
        return pixels * gain.exp() + shift

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self._generator)

    def _random_below(self, limit: int) -> int:
        return int(torch.randint(limit, (), generator=self._generator))


def _at_least(image: Tensor, side: int) -> Tensor:
    rows, cols = (max(0, side - size) for size in image.shape[1:])
    return F.pad(image, (0, cols, 0, rows), mode="reflect")
