"""Networks that are code of the user's own, named `network: package.module:Class` in cfg.yaml.

A class does not say in words what it takes and answers with. So it is asked about noise once its
weights are in it. Its file of weights is read as every other: it holds no code.
"""

import hashlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kernelkit.checkpoints.answers import (
    BANDS,
    SIDES,
    as_logits,
    as_numbers,
    first_line,
    in_words,
    is_same,
    kind_of_values,
    masks_of,
    noise,
)
from kernelkit.errors import CheckpointError, OwnCodeError, as_sentence
from kernelkit.own import load_own, own_fingerprint

__all__ = ["NetworkAnswers", "ask", "build_own", "with_code"]

# What a description says for us. It is passed on only if the class takes it.
_OURS = ("in_channels", "in_chans", "classes", "num_classes")


def build_own(description: Mapping[str, Any], source: str) -> nn.Module:
    """A fresh module of the class that a description names, in eval mode.

    Parameters
    ----------
    description
        `network`, and the arguments of the class. The numbers of channels and of classes are
        passed on if the class takes them.
    source
        Where the description was found, for errors.

    Raises
    ------
    CheckpointError
        There is no such class, it is no network, or it does not take the arguments.
    """
    name = description["network"]
    if "arch" in description:
        raise CheckpointError(
            f"{source}: found arch {description['arch']} and network {name}, wanted one of them"
        )
    try:
        network = load_own(name)
    except OwnCodeError as error:
        raise CheckpointError(f"{source}: {error}") from error
    if not (inspect.isclass(network) and issubclass(network, nn.Module)):
        raise CheckpointError(
            f"{source}: {name} is no class of torch.nn.Module. Name the class of a network, as "
            "package.module:Class"
        )
    arguments = _taken(description, network)
    try:
        return network(**arguments).eval()
    except Exception as error:  # code of the user's own fails in every kind of way
        raise CheckpointError(
            f"{source}: {name} cannot be made with {', '.join(arguments) or 'no arguments'} "
            f"({as_sentence(error)[:300].rstrip('.')}). Correct the section MODEL, or the class"
        ) from error


def _taken(description: Mapping[str, Any], network: type) -> dict[str, Any]:
    """The arguments of a class: the description's, and the numbers of channels if it takes them."""
    parameters = inspect.signature(network).parameters
    takes_all = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    return {
        key: value
        for key, value in description.items()
        if key != "network" and (key not in _OURS or takes_all or key in parameters)
    }


def with_code(weights_sha256: str, name: str) -> str:
    """A hash of a network's weights and of the package of its code. Either changes the answers."""
    return hashlib.sha256(f"{weights_sha256} {own_fingerprint(name)}".encode()).hexdigest()


@dataclass(frozen=True)
class NetworkAnswers:
    """What a network was found to take and to answer with.

    Attributes
    ----------
    channels, classes
        Of input and output.
    is_classifier
        Whether it answers with labels (N, J) of whole tiles.
    size
        Height and width of the only tiles that it takes, or None if it takes others too.
    note
        What the caller should know, in a sentence, or None.
    """

    channels: int
    classes: int
    is_classifier: bool
    size: tuple[int, int] | None
    note: str | None


@torch.no_grad()
def ask(module: nn.Module, path: Path, channels: int | None, classes: int | None) -> NetworkAnswers:
    """Ask a network about noise. Afterwards it answers in logits, even if its code does not.

    Parameters
    ----------
    module
        The network with its weights, on the CPU.
    path
        Its checkpoint, for errors.
    channels, classes
        Of input and output, if the description says so.

    Raises
    ------
    CheckpointError
        It takes no tiles that were tried, or answers otherwise if it is asked again. Or its answers
        are not one value per class and pixel.
    """

    def answered(tiles: Tensor) -> Tensor:
        return as_numbers(masks_of(module(tiles), path), path)

    tiles = _first_taken(module, path, channels)
    answer = answered(tiles)
    _check_answer(answer, tiles, path, classes)
    if not is_same(answer, answered(tiles)):
        raise CheckpointError(
            f"{path}: the network answers differently if it is asked again, as with a dropout that "
            "eval() does not stop. Let it look at self.training"
        )
    kind = kind_of_values(answered, tiles)
    note = None
    if kind is not None:
        module.register_forward_hook(lambda *call: as_logits(masks_of(call[-1], path), kind))
        note = (
            f"{path}: the answers lie between 0 and 1. They are taken for probabilities and turned "
            "into logits. Let the network answer without its last activation"
        )
    return NetworkAnswers(
        channels=tiles.shape[1],
        classes=answer.shape[1],
        is_classifier=answer.ndim == 2,
        size=None if _takes_larger(module, tiles) else (tiles.shape[-2], tiles.shape[-1]),
        note=note,
    )


def _first_taken(module: nn.Module, path: Path, channels: int | None) -> Tensor:
    """The first tiles among the likely ones that the network takes."""
    first = ""
    for side, bands in product(SIDES, (channels,) if channels else BANDS):
        tiles = noise(2, bands, (side, side))
        try:
            module(tiles)
        except Exception as error:  # a network refuses a size with any kind of error
            first = first or first_line(error)
            continue
        return tiles
    raise CheckpointError(
        f"{path}: the network takes no tiles of {min(SIDES)} to {max(SIDES)} pixels ({first}). "
        "Write its in_channels into the section MODEL, or correct the class"
    )


def _check_answer(answer: Tensor, tiles: Tensor, path: Path, classes: int | None) -> None:
    if answer.ndim not in (2, 4) or len(answer) != len(tiles):
        raise CheckpointError(
            f"{path}: the network answers with an array {tuple(answer.shape)} for tiles "
            f"{tuple(tiles.shape)}, wanted (tiles, classes, height, width). Let it answer so"
        )
    if answer.ndim == 4 and answer.shape[-2:] != tiles.shape[-2:]:
        raise CheckpointError(
            f"{path}: the network answers with masks of {in_words(answer.shape[-2:])} for tiles of "
            f"{in_words(tiles.shape[-2:])}, wanted one value per pixel. Let it enlarge them"
        )
    if classes is not None and answer.shape[1] != classes:
        raise CheckpointError(
            f"{path}: the network answers with {answer.shape[1]} classes, but its description says "
            f"{classes}. Correct the section MODEL"
        )


def _takes_larger(module: nn.Module, tiles: Tensor) -> bool:
    """Whether the network takes tiles of another size too."""
    height, width = tiles.shape[-2:]
    sizes: Sequence[tuple[int, int]] = ((height + 64, width + 128), (2 * height, 2 * width))
    for size in sizes:
        try:
            module(noise(1, tiles.shape[1], size))
        except Exception:  # as above
            continue
        return True
    return False
