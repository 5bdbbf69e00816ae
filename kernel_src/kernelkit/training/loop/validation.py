"""Validation on whole images: how good networks are at what the notebook will ask them.

The images come from the cuts, at the scale that the networks train at. Each is looked at in the
product's own grid, and its tiles are stitched on the product's own canvas. Networks that compete
see the same tiles, so that each is read once.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kernelkit.canvas import Canvas
from kernelkit.checkpoints.answers import masks_of
from kernelkit.ensemble.answers import Answers
from kernelkit.ensemble.questions import padded
from kernelkit.errors import TrainingError
from kernelkit.evaluation.metrics import Confusion, Counts
from kernelkit.grid import Tile, TileGrid, Window
from kernelkit.mask import BitMask
from kernelkit.vocabulary import Activation, Blend, Edges

__all__ = ["Judgement", "Look", "Picture", "Seen", "judge"]

# A pixel of a label is on from here on. Labels are shares of 255.
_HALF = 128


class Picture(Protocol):
    """An image as the networks see it, with its labels."""

    @property
    def height(self) -> int:
        """Rows of pixels."""

    @property
    def width(self) -> int:
        """Pixels per row."""

    def read(
        self, window: Window, /
    ) -> tuple[NDArray, NDArray[np.uint8], NDArray[np.bool_] | None]:
        """Pixels (C, h, w), labels (K, h, w) from 0 to 255, and where there is data (h, w)."""


@dataclass(frozen=True)
class Look:
    """How the networks look at an image, and what their answers mean.

    Attributes
    ----------
    normalise
        Makes the networks' input of pixels on the device, (N, C, h, w).
    activation
        What makes probabilities of their answers.
    labels
        Which of the network's classes the labels are about.
    threshold
        A pixel is on if its probability is above. None takes the likeliest class.
    core, pad
        Of the grid, in pixels of the training scale. A core of 0 is a whole image.
    edges, blend
        Of the grid and of the canvas.
    inner
        The part of a whole image that is judged, without its pads. None is all of it.
    batch
        How many pixels are looked at at once, at most.
    confuses
        Whether it is also counted which class is taken for which.
    present
        Of classifiers: what their answers (N, J) say is there, bool (N,), or (N, K) of each class.
        None if the networks answer with masks.
    """

    normalise: Callable[[Tensor], Tensor]
    activation: Activation = "sigmoid"
    labels: tuple[int, ...] = (0,)
    threshold: float | None = 0.5
    core: int = 0
    pad: int = 0
    edges: Edges = "pad"
    blend: Blend = "crop"
    inner: Callable[[Any], Window] | None = None
    batch: int = 1 << 20
    confuses: bool = False
    present: Callable[[Tensor], Tensor] | None = None

    def tiles(self, picture: Picture) -> Sequence[Tile]:
        """The tiles of an image."""
        if self.core:
            return self.grid(picture)
        return [Tile(0, Window(0, 0, picture.height, picture.width), self.counted(picture))]

    def counted(self, picture: Picture) -> Window:
        """The part of an image that is judged."""
        if self.core or self.inner is None:
            return Window(0, 0, picture.height, picture.width)
        return self.inner(picture)

    def grid(self, picture: Picture) -> TileGrid:
        """The grid of an image that is looked at in tiles."""
        return TileGrid(picture.height, picture.width, self.core, self.pad, 1, self.edges)


@dataclass
class Judgement:
    """How good a network is on some images.

    Attributes
    ----------
    counts
        Of each class, over all images.
    dices
        Of each image, the mean of its classes.
    confusion
        Which class is taken for which, over all images. None if nobody asks.
    right, asked
        How many tiles a classifier judged rightly, of how many.
    """

    counts: list[Counts] = field(default_factory=list)
    dices: dict[str, float] = field(default_factory=dict)
    confusion: Confusion | None = None
    right: int = 0
    asked: int = 0

    def __add__(self, other: "Judgement") -> "Judgement":
        both = [a + b for a, b in zip(self.counts, other.counts, strict=False)]
        confusions = [one.confusion for one in (self, other) if one.confusion is not None]
        return Judgement(
            both or self.counts or other.counts,
            self.dices | other.dices,
            confusions[0] + confusions[1] if len(confusions) > 1 else next(iter(confusions), None),
            self.right + other.right,
            self.asked + other.asked,
        )

    def score(self, metric: str) -> float:
        """The score that weights compete with.

        Parameters
        ----------
        metric
            "dice_per_image" is the mean of the images. "mean_iou" and "mean_f1" are means of the
            classes and the background. "accuracy" is the share of tiles that are judged rightly.
            Another property of `Counts` is over all images, and the mean of the classes.
        """
        if metric == "accuracy":
            return self.right / max(self.asked, 1)
        if metric == "dice_per_image":
            return float(np.mean(list(self.dices.values())))
        if metric in ("mean_iou", "mean_f1") and self.confusion is not None:
            return float(getattr(self.confusion, metric))
        return float(np.mean([getattr(each, metric) for each in self.counts]))


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
class _Piece:
    """A tile of an image that was read."""

    name: str
    tile: Tile
    pixels: NDArray
    labels: NDArray[np.uint8]
    held: NDArray[np.bool_] | None


@torch.inference_mode()
def judge(
    networks: Mapping[str, nn.Module],
    pictures: Mapping[str, Picture],
    look: Look,
    *,
    device: torch.device,
    computing: Callable[[], AbstractContextManager[Any]] = nullcontext,
    show: Callable[[str, Seen], None] | None = None,
) -> dict[str, Judgement]:
    """Judge networks by whole images. They are left in evaluation mode.

    Parameters
    ----------
    networks
        The networks, on the device.
    pictures
        The images by their ids.
    look
        How they are looked at.
    device
        Where the networks are.
    computing
        The precision in which they compute.
    show
        Is given what was found in each image, as soon as it is known.

    Raises
    ------
    TrainingError
        A network answers with NaN or infinity.
    """
    for network in networks.values():
        network.eval()
    judged = {kind: Judgement() for kind in networks}
    open_image: _Image | None = None
    for batch in _batches(_pieces(pictures, look), look):
        pixels = torch.from_numpy(np.stack([piece.pixels for piece in batch])).to(device)
        prepared = look.normalise(pixels)
        with computing():
            answers = {k: _asked(network, prepared) for k, network in networks.items()}
        _refuse_nan(answers, batch)
        if look.present:
            _judge_labels(judged, answers, batch, look.present)
            continue
        masks = {kind: _decided(answer, batch, look) for kind, answer in answers.items()}
        for number, piece in enumerate(batch):
            if open_image is None:
                open_image = _Image(pictures[piece.name], look)
            open_image.add(piece, {kind: each[number] for kind, each in masks.items()})
            if open_image.is_done:
                seen, found = open_image.finish(piece.name)
                judged = {kind: judged[kind] + found[kind] for kind in judged}
                if show:
                    show(piece.name, seen)
                open_image = None
    return judged


def _pieces(pictures: Mapping[str, Picture], look: Look) -> Iterator[_Piece]:
    """Read the images one after the other, tile by tile."""
    for name, picture in pictures.items():
        for tile in look.tiles(picture):
            yield _Piece(name, tile, *picture.read(tile.read))


def _batches(pieces: Iterator[_Piece], look: Look) -> Iterator[list[_Piece]]:
    """Put neighbours of one size together, across images."""
    for (height, width), same in groupby(pieces, key=lambda piece: piece.pixels.shape[-2:]):
        count = max(1, look.batch // (height * width))
        while batch := list(islice(same, count)):
            yield batch


def _asked(network: nn.Module, prepared: Tensor) -> Tensor:
    """The logits of a network, float32."""
    height, width = prepared.shape[-2:]
    stride = int(getattr(getattr(network, "encoder", None), "output_stride", 32))
    images = padded(prepared, stride).contiguous(memory_format=torch.channels_last)
    answer = masks_of(network(images), Path("the network")).float()
    return answer[..., :height, :width] if answer.ndim == 4 else answer


def _refuse_nan(answers: Mapping[str, Tensor], batch: Sequence[_Piece]) -> None:
    for answer in answers.values():
        if not bool(answer.sum().isfinite()):
            raise TrainingError(
                f"the network answers with NaN or infinity in the validation image "
                f"{batch[0].name}. Lower optimiser.lr, or train with precision: fp32. The best "
                "checkpoint before stays"
            )


def _judge_labels(
    judged: Mapping[str, Judgement],
    answers: Mapping[str, Tensor],
    batch: Sequence[_Piece],
    present: Callable[[Tensor], Tensor],
) -> None:
    """Compare what classifiers say with what is labelled, of each class or at all."""
    truth = np.stack([(_labels_of(piece) >= _HALF).any((1, 2)) for piece in batch])
    for kind, answer in answers.items():
        found = present(answer).cpu().numpy()
        wanted = truth if found.ndim == 2 else truth.any(1)
        judged[kind].asked += wanted.size
        judged[kind].right += int((found == wanted).sum())


def _labels_of(piece: _Piece) -> NDArray[np.uint8]:
    return piece.labels if piece.held is None else piece.labels * piece.held


def _decided(answer: Tensor, batch: Sequence[_Piece], look: Look) -> list[NDArray[np.uint8]]:
    """What the canvas takes of each tile: bits of the core, or probabilities to blend."""
    probabilities = answer.sigmoid() if look.activation == "sigmoid" else answer.softmax(1)
    if look.threshold is not None:
        probabilities = probabilities[:, list(look.labels)]
    answers = Answers(probabilities)
    if look.blend == "crop" or not look.core:
        limits = None if look.threshold is None else (look.threshold,)
        return answers.bits([piece.tile for piece in batch], 1, limits).result()
    return answers.bytes().result()


class _Image:
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
            limits = None if self._look.threshold is None else (self._look.threshold,)
            self._canvases[kind] = Canvas(
                self._look.grid(self._picture),
                classes=classes,
                blend=self._look.blend,
                thresholds=limits,
            )
        return self._canvases[kind]

    @property
    def is_done(self) -> bool:
        """Whether all tiles came."""
        return self._missing == 0

    def add(self, piece: _Piece, answers: Mapping[str, NDArray[np.uint8]]) -> None:
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
