"""How answers about the tiles of an image become what the store holds: masks, or layers.

Both put the tiles on a `Canvas`. For masks the device decides which pixels are on, if tiles are
only cut. For layers the probabilities of each come down as bytes, and go to a file in the store's
folder.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kernelkit.canvas import Canvas
from kernelkit.ensemble import MegaModel
from kernelkit.ensemble.answers import Answers
from kernelkit.ensemble.transfer import Pending
from kernelkit.grid import Tile, TileGrid
from kernelkit.mask import BitMask
from kernelkit.predict.store.store import Layers
from kernelkit.predict.work.nodata import clear
from kernelkit.recipe import EnsembleRecipe, Recipe
from kernelkit.vocabulary import GiveUp, Level

__all__ = ["LayerStitching", "MaskStitching", "Stitching"]


# What takes a layer away, if layers of a level are kept.
_KEEPS: dict[Level, frozenset[GiveUp]] = {
    "member": frozenset({"folds", "scales"}),
    "model": frozenset({"scales"}),
    "ensemble": frozenset(),
}


class Stitching(Protocol):
    """What the prediction of an image needs of a way to stitch.

    Attributes
    ----------
    canvas
        Takes the tiles that are left out.
    level
        Whose answers are kept apart.
    keeps
        What may not be given up in the middle of an image, since a layer of it would end there.
    """

    canvas: Canvas
    level: Level
    keeps: frozenset[GiveUp]

    def send(self, answers: Answers, tiles: Sequence[Tile], /) -> Pending:
        """Send down from the device what `add` takes of each tile."""

    def add(self, tile: Tile, answer: NDArray[np.uint8]) -> None:
        """Take what came down of one tile."""


class MaskStitching:
    """Tiles become one mask per class."""

    level: Level = "ensemble"
    keeps: frozenset[GiveUp] = frozenset()

    def __init__(
        self, grid: TileGrid, recipe: Recipe, ensemble: EnsembleRecipe, model: MegaModel
    ) -> None:
        self._recipe, self._thresholds = recipe, ensemble.thresholds
        self.canvas = Canvas(
            grid,
            classes=model.classes,
            blend=recipe.stitching.blend,
            upsample=recipe.stitching.upsample,
            thresholds=ensemble.thresholds,
        )

    def send(self, answers: Answers, tiles: Sequence[Tile], /) -> Pending:
        """Send down bits of the cores if tiles are only cut, else probabilities to blend."""
        if self._recipe.stitching.is_crop:
            return answers.bits(tiles, self._recipe.tiles.scale, self._thresholds)
        return answers.bytes()

    def add(self, tile: Tile, answer: NDArray[np.uint8]) -> None:
        """Put a tile on the canvas."""
        add = self.canvas.add_bits if self._recipe.stitching.is_crop else self.canvas.add
        add(tile, answer)

    def finish(self, missing: BitMask | None) -> list[BitMask]:
        """The masks, without the `missing` pixels."""
        masks = self.canvas.finish()
        clear(masks, missing)
        return masks


class LayerStitching:
    """Tiles become the probabilities of each layer and class, in a file.

    Parameters
    ----------
    level
        Whose answers are kept apart.
    path
        Of the file.

    Attributes
    ----------
    path
        Of the .npy file: uint8 (layers x classes, height, width).
    """

    def __init__(
        self, grid: TileGrid, recipe: Recipe, model: MegaModel, level: Level, path: Path
    ) -> None:
        self.level = level
        self.keeps = _KEEPS[level]
        self.path = path
        self._names = model.layers(self.level)
        self._classes = model.classes
        self.canvas = Canvas(
            grid,
            classes=len(self._names) * model.classes,
            blend=recipe.stitching.blend,
            upsample=recipe.stitching.upsample,
            probabilities=path,
            masks=False,
        )

    def send(self, answers: Answers, _tiles: Sequence[Tile], /) -> Pending:
        """Send down the probabilities of all layers."""
        return answers.bytes()

    def add(self, tile: Tile, answer: NDArray[np.uint8]) -> None:
        """Put a tile on the canvas."""
        self.canvas.add(tile, answer)

    def finish(self, missing: BitMask | None) -> Layers:
        """The layers, of which the `missing` pixels are not to be used."""
        self.canvas.finish()
        planes = np.load(self.path, mmap_mode="r", allow_pickle=False)
        shape = len(self._names), self._classes, *planes.shape[1:]
        return Layers(self._names, planes.reshape(shape), missing)
