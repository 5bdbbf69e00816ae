"""Where windows lie: around objects, on a grid, on background, inside polygons, whole pictures.

Each source is a function of one image. What it draws at random depends on the seed, the source and
the image's id alone. So another image more changes no window of the others.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kernelkit.grid import Window
from kernelkit.mask import BitMask
from kernelkit.training.cuts.blocks import BLOCK
from kernelkit.training.cuts.draws import generator_of
from kernelkit.training.cuts.image import CutImage
from kernelkit.training.cuts.regions import Regions

if TYPE_CHECKING:
    from kernelkit.training.recipe import WindowSource

__all__ = ["windows_of"]

# A pixel is of an object if so much of it is labelled, of 255.
_HALF = 128
# So many places are tried per window of background that is wanted.
_TRIES = 20


def windows_of(
    name: str, source: "WindowSource", image: CutImage, regions: Regions | None, seed: int
) -> list[Window]:
    """Return the windows of a source in an image, in pixels of the training scale.

    Parameters
    ----------
    name, source
        The source, by its name.
    regions
        The polygons of the image, if the source has some and the image has.
    seed
        Where the randomness begins.
    """
    random = generator_of(seed, name, image.id)
    return list(_SOURCES[source.around](source, image, regions, random))


type _Found = Iterator[Window]


def _around_objects(
    source: "WindowSource", image: CutImage, _: Regions | None, __: np.random.Generator
) -> _Found:
    """One window per object, with its centroid in the middle."""
    for row, col in _centroids(image):
        yield _centred(row, col, _size(source))


def _on_grid(
    source: "WindowSource", image: CutImage, _: Regions | None, __: np.random.Generator
) -> _Found:
    """Windows side by side, or as far from each other as `step` says. The last ones hang over."""
    size = _size(source)
    step = source.step or size
    for row in _starts(image.height, size, step):
        for col in _starts(image.width, size, step):
            yield Window(row, col, size, size)


def _on_background(
    source: "WindowSource", image: CutImage, _: Regions | None, random: np.random.Generator
) -> _Found:
    """Windows at random places, in which nothing is labelled."""
    found, count = 0, source.count or 0
    for _try in range(_TRIES * count):
        window = _anywhere(image, _size(source), random)
        held = image.read_held(window)
        if (held is None or held.any()) and not image.read_labels(window).any():
            yield window
            found += 1
            if found == count:
                return


def _in_polygons(
    source: "WindowSource", _: CutImage, regions: Regions | None, random: np.random.Generator
) -> _Found:
    """One window at the centroid of each polygon, or so many at random places inside of each."""
    if regions is None:
        return
    places = regions.places(source.count, random) if source.count else [regions.centroids]
    for each in places:
        for row, col in each:
            yield _centred(row, col, _size(source))


def _whole_picture(
    _: "WindowSource", image: CutImage, __: Regions | None, ___: np.random.Generator
) -> _Found:
    yield image.bounds


_SOURCES: Mapping[
    str, Callable[["WindowSource", CutImage, Regions | None, np.random.Generator], _Found]
] = {
    "objects": _around_objects,
    "grid": _on_grid,
    "background": _on_background,
    "polygons": _in_polygons,
    "picture": _whole_picture,
}


def _size(source: "WindowSource") -> int:
    assert source.size is not None  # all sources but that of whole pictures have one
    return source.size


def _centroids(image: CutImage) -> NDArray[np.float64]:
    """The centroids of the components of all classes, (n, 2)."""
    masks = [BitMask.zeros(image.height, image.width) for _ in range(image.classes)]
    for row in range(0, image.height, BLOCK):
        rows = min(BLOCK, image.height - row)
        labels = image.read_labels(Window(row, 0, rows, image.width)) >= _HALF
        for mask, plane in zip(masks, labels, strict=True):
            if plane.any():
                mask.paste(row, 0, plane)
    return np.concatenate([mask.components().centroids for mask in masks])


def _centred(row: float, col: float, size: int) -> Window:
    """A square with a pixel's centre in its middle."""
    return Window(round(row + 0.5 - size / 2), round(col + 0.5 - size / 2), size, size)


def _starts(length: int, size: int, step: int) -> range:
    """Where windows start along an axis, so that each pixel lies in one."""
    count = max(0, -(-(length - size) // step)) + 1
    return range(0, count * step, step)


def _anywhere(image: CutImage, size: int, random: np.random.Generator) -> Window:
    """A window inside the image, or around it if the image is smaller."""
    row, col = (
        int(random.integers(side - size + 1)) if side > size else (side - size) // 2
        for side in (image.height, image.width)
    )
    return Window(row, col, size, size)
