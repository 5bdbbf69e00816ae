"""A network that comes as a program: what it takes and answers with, found out by asking it."""

from itertools import product
from pathlib import Path

import torch
from torch import Tensor, nn

from kernelkit.checkpoints.answers import (
    BANDS,
    SIDES,
    ValueKind,
    as_logits,
    as_numbers,
    first_line,
    in_words,
    is_same,
    kind_of_values,
    masks_of,
    noise,
)
from kernelkit.errors import CheckpointError

__all__ = ["Program", "Shape"]

# Of a program's input (N, C, h, w), each number that it fixes.
type Shape = tuple[int | None, int | None, int | None, int | None]


class Program(nn.Module):
    """A program, and what it was found to take and to answer with.

    It is asked about noise at once: alone, again, and beside another tile.

    Parameters
    ----------
    path
        Its file, for errors.
    module
        Takes tiles (N, C, h, w).
    channels, classes
        Of input and output, if a description says so.
    shape
        What its file says about its input.
    runs_by
        What runs it, in words. None is torch.
    device
        Of the ensemble. Some programs answer only there. None is the CPU.

    Attributes
    ----------
    runs_by
        What runs it, in words.
    channels, classes
        Of input and output.
    size
        Height and width of the only tiles that it takes, or None if it takes others too.
    is_classifier
        Whether it answers with labels (N, J) of whole tiles.
    note
        What the caller should know, in a sentence, or None.

    Raises
    ------
    CheckpointError
        It takes no tiles that were tried. It answers otherwise if it is asked again. Its answers
        are not as large as the tiles.
    """

    def __init__(
        self,
        path: Path,
        module: nn.Module,
        channels: int | None = None,
        classes: int | None = None,
        shape: Shape | None = None,
        runs_by: str | None = None,
        *,
        device: torch.device | None = None,
    ) -> None:
        super().__init__()
        self._devices = dict.fromkeys((torch.device("cpu"), device or torch.device("cpu")))
        self.runs_by = runs_by or f"torch {torch.__version__}"
        self.module = module
        self.note: str | None = None
        self._path = path
        # torch.export fixes the batch, or takes 2 tiles or more, if nobody says otherwise
        self._fixed_batch: int | None = None
        self._least_batch = 1
        # whether it answers in probabilities, and whether these sum to one
        self._activation: ValueKind = None
        tiles = self._first_taken(shape or (None,) * 4, channels)
        answer = self._answered(tiles)
        self.channels = tiles.shape[1]
        self.is_classifier = answer.ndim == 2
        self._check_answer(answer, tiles, classes)
        self.classes = answer.shape[1]
        self._check_again(answer, tiles)
        is_fixed = shape is not None and shape[2] is not None and shape[3] is not None
        self.size = _size_of(tiles) if is_fixed else self._only_size(tiles)
        self._check_range(tiles[:1])
        self.module.cpu()

    def forward(self, tiles: Tensor) -> Tensor:
        """Logits (N, K, h, w), or (N, J) of a classifier, for tiles (N, C, h, w)."""
        if self.size is not None and tuple(tiles.shape[-2:]) != self.size:
            raise CheckpointError(
                f"{self._path}: the network takes tiles of {in_words(self.size)} only, but "
                f"the recipe gives {in_words(tiles.shape[-2:])}. Correct its tiles, "
                "or the zoom of its pyramid"
            )
        answer = self._run(tiles)
        return as_logits(answer, self._activation)

    def _run(self, tiles: Tensor) -> Tensor:
        """What the program itself gives, in batches that it takes."""
        fixed, least = self._fixed_batch, self._least_batch
        parts = tiles.split(fixed) if fixed else (tiles,)
        answers = []
        for part in parts:
            missing = max(fixed or least, least) - len(part)
            filled = (
                torch.cat([part, part[-1:].expand(missing, -1, -1, -1)]) if missing > 0 else part
            )
            answers.append(masks_of(self.module(filled), self._path)[: len(part)])
        return answers[0] if len(answers) == 1 else torch.cat(answers)

    @torch.no_grad()
    def _first_taken(self, shape: Shape, channels: int | None) -> Tensor:
        """The first tiles among the likely ones that the program takes."""
        count, bands, height, width = shape
        counts = (count,) if count else (None, 1)
        if channels and bands and channels != bands:
            raise CheckpointError(
                f"{self._path}: the program takes {bands} bands, but its description says "
                f"{channels}. Correct the description"
            )
        if width in BANDS:
            raise CheckpointError(
                f"{self._path}: the program takes arrays whose last axis has {width} values, which "
                "are bands. Export one that takes (tiles, bands, height, width)"
            )
        known = channels or bands
        first = ""
        sizes = [(height or side, width or side) for side in SIDES]
        bands_tried = (known,) if known else BANDS
        for device, size, band, fixed in product(
            self._devices, dict.fromkeys(sizes), bands_tried, counts
        ):
            tiles = noise(2, band, size).to(device)
            self.module.to(device)
            self._fixed_batch = fixed
            try:
                self._run(tiles)
            except CheckpointError:
                raise
            except Exception as error:  # a program refuses a size with any kind of error
                first = first or first_line(error)
                continue
            return tiles
        raise CheckpointError(
            f"{self._path}: the program takes no tiles of {min(SIDES)} to {max(SIDES)} pixels "
            f"({first}). Export one that takes (tiles, bands, height, width)"
        )

    @torch.no_grad()
    def _answered(self, tiles: Tensor) -> Tensor:
        return as_numbers(self._run(tiles), self._path)

    def _check_answer(self, answer: Tensor, tiles: Tensor, classes: int | None) -> None:
        if answer.ndim not in (2, 4) or len(answer) != len(tiles):
            raise CheckpointError(
                f"{self._path}: the program answers with an array {tuple(answer.shape)} for tiles "
                f"{tuple(tiles.shape)}, wanted (tiles, classes, height, width). Export one that "
                "answers with masks"
            )
        if answer.ndim == 4 and answer.shape[-2:] != tiles.shape[-2:]:
            raise CheckpointError(
                f"{self._path}: the program answers with masks of {in_words(answer.shape[-2:])} "
                f"for tiles of {in_words(tiles.shape[-2:])}, wanted one value per pixel. Export "
                "it with its last upsampling"
            )
        if classes is not None and answer.shape[1] != classes:
            raise CheckpointError(
                f"{self._path}: the program answers with {answer.shape[1]} classes, but its "
                f"description says {classes}. Correct the description"
            )

    def _check_again(self, answer: Tensor, tiles: Tensor) -> None:
        """Ask again, and without the other tile: a network in eval mode answers the same."""
        again = self._answered(tiles)
        try:
            alone = self._answered(tiles[:1])
        except Exception:  # as above: programs that were exported for a batch may refuse one tile
            self._least_batch = len(tiles)
            alone = self._answered(tiles[:1])
        if not is_same(answer, again):
            raise CheckpointError(
                f"{self._path}: the program answers differently if it is asked again, as with "
                "dropout. It was traced in train mode. Call eval() before you trace it"
            )
        if not is_same(answer[:1], alone):
            raise CheckpointError(
                f"{self._path}: the program's answer for a tile depends on the other tiles, as of "
                "norms in train mode. Call eval() before you trace it"
            )

    def _only_size(self, tiles: Tensor) -> tuple[int, int] | None:
        """The only size that the program takes, if it does not take a larger tile too."""
        height, width = tiles.shape[-2:]
        try:
            larger = noise(1, self.channels, (height + 32, width + 64)).to(tiles.device)
            answer = self._answered(larger)
        except Exception:  # as above
            return _size_of(tiles)
        is_whole = self.is_classifier or answer.shape[-2:] == larger.shape[-2:]
        return None if is_whole else _size_of(tiles)

    def _check_range(self, tiles: Tensor) -> None:
        """Turn probabilities into logits from now on, if it answers with them."""
        self._activation = kind_of_values(self._answered, tiles)
        if self._activation is not None:
            self.note = (
                f"{self._path}: the answers lie between 0 and 1. They are taken for probabilities "
                "and turned into logits. Export the network without its last activation"
            )


def _size_of(tiles: Tensor) -> tuple[int, int]:
    height, width = tiles.shape[-2:]
    return height, width
