"""An image whose tiles come one after the other, until its masks can be judged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernelkit.canvas import Canvas
from kernelkit.evaluation.metrics import Confusion, Counts
from kernelkit.grid import Tile, Window
from kernelkit.mask import BitMask
from kernelkit.training.loop.validation.judgement import Judgement
from kernelkit.training.loop.validation.look import Look, Picture

__all__ = ["JudgedImage", "Piece", "Seen"]

# A pixel of a label is on from here on. Labels are shares of 255.
_HALF = 128


@dataclass(frozen=True)
class Seen:
    """What was found in an image, beside what is there. Of each class one mask.

    Attributes
    ----------
    found
        Of each network.
    truth
        What the labels say.
    """

    found: Mapping[str, Sequence[BitMask]]
    truth: Sequence[BitMask]


@dataclass(frozen=True, eq=False)
class Piece:
    """A tile of an image that was read.

    Attributes
    ----------
    name
        The id of the image.
    tile
        Which tile.
    pixels, labels, held
        What `Picture.read` gives.
    """

    name: str
    tile: Tile
    pixels: NDArray
    labels: NDArray[np.uint8]
    held: NDArray[np.bool_] | None

    def classes_present(self) -> NDArray[np.bool_]:
        """Which classes are labelled where there is data (K,)."""
        labels = self.labels if self.held is None else self.labels * self.held
        return (labels >= _HALF).any((1, 2))


class JudgedImage:
    """An image whose tiles come one after the other."""

    def __init__(self, picture: Picture, look: Look) -> None:
        tiles = look.tiles(picture)
        self._look, self._picture, self._missing = look, picture, len(tiles)
        self._counted = Window(0, 0, picture.height, picture.width) if look.core else tiles[0].core
        self._size = self._counted.height, self._counted.width
        self._canvases: dict[str, Canvas] = {}
        self._found: dict[str, list[BitMask]] = {}
        self._truth: list[BitMask] = []
        self._held: BitMask | None = None

    def _canvas(self, kind: str, classes: int) -> Canvas:
        if kind not in self._canvases:
            self._canvases[kind] = Canvas(
                self._look.grid(self._picture),
                classes=classes,
                blend=self._look.blend,
                thresholds=self._look.thresholds,
            )
        return self._canvases[kind]

    @property
    def is_done(self) -> bool:
        """Whether all tiles came."""
        return self._missing == 0

    def add(self, piece: Piece, answers: Mapping[str, NDArray[np.uint8]]) -> None:
        """Take the next tile."""
        self._missing -= 1
        core, (rows, columns) = piece.tile.core, piece.tile.inner.slices
        row, col = core.row - self._counted.row, core.col - self._counted.col
        if not self._truth:
            self._truth = [BitMask.zeros(*self._size) for _ in piece.labels]
        for mask, plane in zip(self._truth, piece.labels, strict=True):
            mask.paste(row, col, plane[rows, columns] >= _HALF)
        if piece.held is not None and not piece.held.all():
            if self._held is None:
                self._held = ~BitMask.zeros(*self._size)
            self._held.paste(row, col, piece.held[rows, columns])
        for kind, answer in answers.items():
            if not self._look.core:
                bits = np.unpackbits(answer, axis=-1, bitorder="little")
                self._found[kind] = [BitMask.from_array(one[:, : core.width]) for one in bits]
            elif self._look.blend == "crop":
                self._canvas(kind, len(answer)).add_bits(piece.tile, answer)
            else:
                self._canvas(kind, len(answer)).add(piece.tile, answer)

    def finish(self, name: str) -> tuple[Seen, dict[str, Judgement]]:
        """What was found, and how much of it is right."""
        found = self._found | {kind: each.finish() for kind, each in self._canvases.items()}
        if self._look.threshold is None:
            found = {kind: [masks[i] for i in self._look.labels] for kind, masks in found.items()}
        judged = {kind: self._judged(name, masks) for kind, masks in found.items()}
        return Seen(found, self._truth), judged

    def _judged(self, name: str, masks: Sequence[BitMask]) -> Judgement:
        pairs = zip(masks, self._truth, strict=True)
        counts = [Counts.of(mask, truth, within=self._held) for mask, truth in pairs]
        confused = Confusion.of(masks, self._truth, self._held) if self._look.confuses else None
        return Judgement(counts, {name: float(np.mean([one.dice for one in counts]))}, confused)
