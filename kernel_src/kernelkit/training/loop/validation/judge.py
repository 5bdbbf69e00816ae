"""Judge networks by the same images at once, each read once."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kernelkit.checkpoints.answers import masks_of
from kernelkit.ensemble.answers import Answers
from kernelkit.ensemble.questions import padded
from kernelkit.errors import TrainingError
from kernelkit.training.loop.validation.judged_image import JudgedImage, Piece, Seen
from kernelkit.training.loop.validation.judgement import Judgement
from kernelkit.training.loop.validation.look import Look, Picture

__all__ = ["judge"]


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
    open_image: JudgedImage | None = None
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
                open_image = JudgedImage(pictures[piece.name], look)
            open_image.add(piece, {kind: each[number] for kind, each in masks.items()})
            if open_image.is_done:
                seen, found = open_image.finish(piece.name)
                judged = {kind: judged[kind] + found[kind] for kind in judged}
                if show:
                    show(piece.name, seen)
                open_image = None
    return judged


def _pieces(pictures: Mapping[str, Picture], look: Look) -> Iterator[Piece]:
    """Read the images one after the other, tile by tile."""
    for name, picture in pictures.items():
        for tile in look.tiles(picture):
            yield Piece(name, tile, *picture.read(tile.read))


def _batches(pieces: Iterator[Piece], look: Look) -> Iterator[list[Piece]]:
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


def _refuse_nan(answers: Mapping[str, Tensor], batch: Sequence[Piece]) -> None:
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
    batch: Sequence[Piece],
    present: Callable[[Tensor], Tensor],
) -> None:
    """Compare what classifiers say with what is labelled, of each class or at all."""
    truth = np.stack([piece.classes_present() for piece in batch])
    for kind, answer in answers.items():
        found = present(answer).cpu().numpy()
        wanted = truth if found.ndim == 2 else truth.any(1)
        judged[kind].asked += wanted.size
        judged[kind].right += int((found == wanted).sum())


def _decided(answer: Tensor, batch: Sequence[Piece], look: Look) -> list[NDArray[np.uint8]]:
    """What the canvas takes of each tile: bits of the core, or probabilities to blend."""
    probabilities = answer.sigmoid() if look.activation == "sigmoid" else answer.softmax(1)
    if look.threshold is not None:
        probabilities = probabilities[:, list(look.labels)]
    answers = Answers(probabilities)
    if look.blend == "crop" or not look.core:
        return answers.bits([piece.tile for piece in batch], 1, look.thresholds).result()
    return answers.bytes().result()
