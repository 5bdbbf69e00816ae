"""The probabilities of an image from its stored layers: of one grid, chosen and merged.

Layers of several stores may lie at several sizes. They are resized bilinearly, with pixel centres
aligned, and then merged. All of it is done for some rows at a time. So layers may lie in files that
memory could not hold.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernelkit.ensemble.layers import level_of, merge_layers
from kernelkit.errors import SubmissionError
from kernelkit.jit import compiled
from kernelkit.predict.store.store import Layers
from kernelkit.recipe import EnsembleRecipe

__all__ = ["Grid", "MergedPlanes", "grid_of"]


@dataclass(frozen=True, slots=True)
class Grid:
    """How the pixels of a picture lie over an image.

    Attributes
    ----------
    size
        Height and width in pixels.
    steps
        How many source pixels one of them covers, down and across.
    """

    size: tuple[int, int]
    steps: tuple[float, float]


def grid_of(layers: Layers, image: tuple[int, int], usual: int | None) -> Grid:
    """The grid of stored layers.

    Parameters
    ----------
    image
        Height and width of the source.
    usual
        The scale at which tiles are read, which is tried first. None for whole pictures, whose
        sides may be resized by any factor.

    Raises
    ------
    SubmissionError
        No whole factor makes the layers of tiles as large as the image.
    """
    height, width = layers.values.shape[-2:]
    if usual is None:
        return Grid((height, width), (image[0] / height, image[1] / width))
    for scale in (usual, image[0] // height, -(-image[0] // height)):
        if scale and (-(-image[0] // scale), -(-image[1] // scale)) == (height, width):
            return Grid((height, width), (scale, scale))
    raise SubmissionError(
        f"found stored layers of {height} x {width} pixels for an image of {image[0]} x {image[1]},"
        " which no whole scale makes of it. Predict the image again"
    )


class MergedPlanes:
    """The merged probabilities of an image, asked for as `planes[:, top:bottom]`.

    Parameters
    ----------
    recipe
        Says how layers are merged.
    parts
        Layers of one image, from one store or more, and the grid of each.
    grid
        That of the planes.
    runs
        Glob patterns of the runs that are merged. None merges all.
    gate
        The gate's answer, by which planes are emptied. None empties none.

    Attributes
    ----------
    shape
        (classes, height, width).
    """

    def __init__(
        self,
        recipe: EnsembleRecipe,
        parts: Sequence[tuple[Layers, Grid]],
        grid: Grid,
        runs: Sequence[str] | None = None,
        gate: NDArray[np.float32] | None = None,
    ) -> None:
        self._recipe, self._runs, self._gate = recipe, runs, gate
        self._names = [name for layers, _ in parts for name in layers.names]
        self._parts = [_Resized(layers.values, own, grid) for layers, own in parts]
        self.shape = (parts[0][0].values.shape[1], *grid.size)

    def __getitem__(self, index: Any) -> NDArray[np.uint8] | NDArray[np.float32]:
        """Some rows of all classes: uint8 if nothing is to be merged, else float32."""
        top, bottom, _ = index[1].indices(self.shape[1])
        layers = [part.rows(top, bottom) for part in self._parts]
        stacked = layers[0] if len(layers) == 1 else np.concatenate(layers)
        is_merged = level_of(self._names) == "ensemble" and self._runs is None
        if is_merged and self._gate is None:
            return stacked[0]
        return merge_layers(self._recipe, self._names, stacked, runs=self._runs, gate=self._gate)


@dataclass(frozen=True, slots=True)
class _Resized:
    """Layers (L, K, h, w) as they are on another grid."""

    values: NDArray[np.uint8]
    own: Grid
    wanted: Grid

    def rows(self, top: int, bottom: int) -> NDArray[np.uint8]:
        """The rows [top, bottom) of all layers."""
        if self.own == self.wanted:
            return self.values[:, :, top:bottom]
        count, classes = self.values.shape[:2]
        resized = np.empty((count, classes, bottom - top, self.wanted.size[1]), np.uint8)
        down, across = (
            wanted / own for wanted, own in zip(self.wanted.steps, self.own.steps, strict=True)
        )
        for layer, out in zip(self.values, resized, strict=True):
            for plane, target in zip(layer, out, strict=True):
                _resize_rows(plane, top, down, across, target)
        return resized


@compiled
def _resize_rows(plane, top, down, across, out):  # type: ignore[no-untyped-def]
    """Write the rows from `top` on of a resized plane.

    Parameters
    ----------
    plane
        uint8 (height, width). Beyond its border, the last pixel counts on.
    down, across
        How many of its pixels one pixel of the result covers.
    out
        uint8 (rows, width of the result).
    """
    height, width = plane.shape
    columns = np.empty(out.shape[1], np.int64)
    shares = np.empty(out.shape[1], np.float32)
    for x in range(out.shape[1]):
        place = min(max((x + 0.5) * across - 0.5, 0.0), width - 1.0)
        columns[x] = min(int(place), max(width - 2, 0))
        shares[x] = place - columns[x]
    beside = 1 if width > 1 else 0
    half = np.float32(0.5)
    for y in range(out.shape[0]):
        place = min(max((top + y + 0.5) * down - 0.5, 0.0), height - 1.0)
        row = min(int(place), max(height - 2, 0))
        share = np.float32(place - row)
        above, below = plane[row], plane[min(row + 1, height - 1)]
        for x in range(out.shape[1]):
            left = columns[x]
            right = left + beside
            upper = above[left] + shares[x] * (np.float32(above[right]) - np.float32(above[left]))
            lower = below[left] + shares[x] * (np.float32(below[right]) - np.float32(below[left]))
            out[y, x] = np.uint8(upper + share * (lower - upper) + half)
