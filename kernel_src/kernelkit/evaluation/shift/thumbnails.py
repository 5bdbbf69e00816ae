"""Small pictures of images, all at about one size, one at a time."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from kernelkit.competition import Scene
from kernelkit.errors import SlideError
from kernelkit.slide import Slide

__all__ = ["Alike", "alike_images", "thumbnail"]

# The longest side of a small picture. A slide's thumbnail is shrunk by whole factors alone, and
# texture depends on the size. So it is made twice as large, and then resized to this.
_SIDE = 256


@dataclass(frozen=True)
class Alike[Key]:
    """Images that can be compared.

    Attributes
    ----------
    scenes
        The images that can be opened and have as many bands as most.
    problems
        For each other image, the reason why it is left out.
    bands
        How many bands the images have.
    dtypes
        What the values of their pixels are.
    """

    scenes: Mapping[Key, Scene]
    problems: Mapping[Key, str]
    bands: int
    dtypes: frozenset[str]


def alike_images[Key](
    scenes: Mapping[Key, Scene], nodata: float | None = None, bands: int | None = None
) -> Alike[Key]:
    """Open images, and keep those that have one number of bands.

    Parameters
    ----------
    bands
        How many they must have. None takes the number that most have.
    """
    found: dict[Key, tuple[int, str]] = {}
    problems: dict[Key, str] = {}
    for image, scene in scenes.items():
        try:
            with Slide(scene.paths, nodata=nodata) as slide:
                found[image] = slide.bands, str(slide.dtype)
        except SlideError as error:
            problems[image] = str(error)
    counts = Counter(number for number, _ in found.values())
    usual = bands if bands is not None else max(counts, key=counts.__getitem__, default=0)
    for image, (number, _) in found.items():
        if number != usual:
            problems[image] = f"it has {number} band(s), and the others have {usual}"
    kept = {image: scene for image, scene in scenes.items() if image not in problems}
    return Alike(kept, problems, usual, frozenset(found[image][1] for image in kept))


def thumbnail(scene: Scene, nodata: float | None = None, side: int = _SIDE) -> NDArray[np.float32]:
    """A small picture of an image.

    Returns
    -------
    float32 (bands, h, w) in the units of the source. No side is longer than `side`.

    Raises
    ------
    SlideError
        The image cannot be read.
    """
    with Slide(scene.paths, nodata=nodata) as slide:
        pixels = slide.thumbnail(2 * side).astype(np.float32)
    pixels = np.nan_to_num(pixels, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    height, width = pixels.shape[1:]
    shrink = side / max(height, width)
    if shrink >= 1:
        return pixels
    size = max(1, round(width * shrink)), max(1, round(height * shrink))
    return np.stack([cv2.resize(band, size, interpolation=cv2.INTER_AREA) for band in pixels])
