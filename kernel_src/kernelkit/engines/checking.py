"""Whether an engine answers as the weights that it was made of, and how fast each is."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kernelkit.errors import EngineError
from kernelkit.vocabulary import Activation

__all__ = ["LIMIT", "Checked", "compare", "probabilities", "seconds_per_tile"]

# What a probability of an engine may differ by.
LIMIT = 1e-3
_ROUNDS = 5


@dataclass(frozen=True)
class Checked:
    """How far an engine's probabilities are from those of the weights.

    Attributes
    ----------
    largest
        The largest difference.
    where
        The tile, the class and the pixel where it is.
    """

    largest: float
    where: str


def probabilities(logits: Tensor, activation: Activation) -> Tensor:
    """Probabilities of logits (N, K, ...)."""
    return logits.float().sigmoid() if activation == "sigmoid" else logits.float().softmax(1)


def compare(name: str, engine: Tensor, weights: Tensor, names: Sequence[str]) -> Checked:
    """Compare probabilities (N, K, ...) of an engine with those of its weights.

    Parameters
    ----------
    name
        The engine, for the error.
    names
        Where each tile is from.

    Raises
    ------
    EngineError
        They differ by more than `LIMIT`, or have another shape.
    """
    if engine.shape != weights.shape:
        raise EngineError(
            f"{name}: the engine answers with {tuple(engine.shape)}, and its weights with "
            f"{tuple(weights.shape)}. Choose the other format"
        )
    difference = (engine - weights.to(engine.device)).abs()
    largest = float(difference.max())  # NaN if any answer is no number
    flat = int(difference.nan_to_num(nan=2.0).argmax())
    place = [int(index) for index in torch.unravel_index(torch.tensor(flat), difference.shape)]
    where = f"{names[place[0]]}, class {place[1]}"
    if len(place) > 2:
        where += f", row {place[2]}, column {place[3]}"
    if not largest <= LIMIT:
        raise EngineError(
            f"{name}: the engine's probability differs by {largest:.2g} from that of its weights "
            f"at {where}, wanted at most {LIMIT:g}. Choose the other format, or leave out float16"
        )
    return Checked(largest, where)


@torch.no_grad()
def seconds_per_tile(engine: nn.Module, weights: nn.Module, tiles: Tensor) -> tuple[float, float]:
    """How long a tile takes by an engine, and by its weights: the median of some rounds of each."""
    found: dict[int, list[float]] = {0: [], 1: []}
    for number in range(_ROUNDS + 1):
        for place, network in enumerate((engine, weights)):
            _wait(tiles)
            start = time.perf_counter()
            network(tiles)
            _wait(tiles)
            if number:  # the first call of each makes ready what it needs
                found[place].append((time.perf_counter() - start) / len(tiles))
    return statistics.median(found[0]), statistics.median(found[1])


def _wait(tiles: Tensor) -> None:
    if tiles.device.type == "cuda":
        torch.cuda.synchronize(tiles.device)
