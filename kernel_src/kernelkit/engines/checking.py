"""Whether an engine answers as the weights that it was made of, and how fast each is."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from kernelkit.checkpoints import Runtime, load_members
from kernelkit.checkpoints.answers import masks_of
from kernelkit.engines.folders import write_record
from kernelkit.engines.parts import Part
from kernelkit.errors import EngineError
from kernelkit.vocabulary import Activation

__all__ = ["LIMIT", "Checked", "Engine", "check_engines", "compare", "probabilities"]

# What a probability of an engine may differ by.
LIMIT = 1e-3
_ROUNDS = 5


@dataclass(frozen=True)
class Engine:
    """An engine that answers as its weights do.

    Attributes
    ----------
    name
        Its run, fold and checkpoint, as of a member.
    path
        Its file.
    megabytes
        The size of the file.
    largest, where
        The largest difference of a probability, and the tile, class and pixel where it is.
    seconds, weights_seconds
        What a tile takes by the engine, and by the weights.
    """

    name: str
    path: Path
    megabytes: float
    largest: float
    where: str
    seconds: float
    weights_seconds: float


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


@torch.no_grad()
def check_engines(
    parts: Sequence[Part],
    staged: Path,
    output: Path,
    device: torch.device,
    say: Callable[[str], None],
) -> Iterator[Engine]:
    """Iterate over the engines, loaded as inference loads them, and compared with their weights.

    Parameters
    ----------
    parts
        What they were made of.
    staged, output
        The folder that their runs lie in, and the one where they will lie.
    device
        What they were made for.
    say
        It gets one line per engine.

    Raises
    ------
    CheckpointError, EngineError
        An engine does not load, or answers otherwise than its weights.
    """
    runs = list(dict.fromkeys(part.run for part in parts))
    loaded = load_members(
        staged, runs, checkpoints="all", programs=True, runtime=Runtime(device, providers=None)
    )
    by_path = {member.path: member for member in loaded}
    for part in parts:
        member = by_path[part.engine]
        if not member.is_program:
            raise EngineError(f"{part.name}: {member.notes[0]}")
        names = part.names if len(part.names) == len(part.tiles) else part.names * 2
        answers = [
            probabilities(masks_of(network(part.tiles), part.engine), part.activation)
            for network in (member.module, part.network)
        ]
        checked = compare(part.name, answers[0], answers[1], names)
        seconds, weights_seconds = _seconds_per_tile(member.module, part.network, part.tiles)
        record = replace(
            part.record,
            engine_sha256=member.weights_sha256,
            made_by=f"{part.record.made_by}, {member.runs_by}",
            largest_difference=checked.largest,
        )
        write_record(part.engine, record)
        say(
            f"{part.name}: differs by {checked.largest:.1e} at most ({checked.where}). A tile "
            f"takes {1e3 * seconds:.1f} ms, and {1e3 * weights_seconds:.1f} ms by the weights"
        )
        yield Engine(
            name=part.name,
            path=output / part.engine.relative_to(staged),
            megabytes=part.engine.stat().st_size / 1e6,
            largest=checked.largest,
            where=checked.where,
            seconds=seconds,
            weights_seconds=weights_seconds,
        )


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
def _seconds_per_tile(engine: nn.Module, weights: nn.Module, tiles: Tensor) -> tuple[float, float]:
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
