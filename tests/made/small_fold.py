"""A fold that trains in a second: bright squares on noise, and a network of two layers."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kernelkit.grid import Window
from kernelkit.training.loop.files import FoldFiles
from kernelkit.training.loop.fold import Fold
from kernelkit.training.loop.module import Parts
from kernelkit.training.loop.rounds import Plan
from kernelkit.training.loop.validation import Look, Seen


@dataclass
class Squares:
    """An image of noise with bright squares, which are labelled."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    held: NDArray[np.bool_] | None = None

    @classmethod
    def made(cls, height: int, width: int, seed: int, count: int = 6) -> "Squares":
        source = np.random.default_rng(seed)
        labels = np.zeros((1, height, width), np.uint8)
        for _ in range(count):
            row, col = source.integers(0, height - 12), source.integers(0, width - 12)
            labels[0, row : row + 12, col : col + 12] = 255
        noise = source.integers(0, 90, (3, height, width))
        return cls((noise + 0.5 * labels).astype(np.uint8), labels)

    @property
    def height(self) -> int:
        return self.pixels.shape[1]

    @property
    def width(self) -> int:
        return self.pixels.shape[2]

    def read(self, window: Window) -> tuple[NDArray, NDArray[np.uint8], NDArray[np.bool_] | None]:
        held = None if self.held is None else _cut(self.held[None], window)[0]
        return _cut(self.pixels, window), _cut(self.labels, window), held


def _cut(planes: NDArray, window: Window) -> NDArray:
    """A window that may reach outside, where it is 0."""
    out = np.zeros((len(planes), window.height, window.width), planes.dtype)
    inside = window.intersection(Window(0, 0, *planes.shape[1:]))
    rows, columns = inside.relative_to(window).slices
    out[:, rows, columns] = planes[(slice(None), *inside.slices)]
    return out


@dataclass
class SquareBatch:
    pixels: Tensor
    targets: Tensor

    def to(self, device: torch.device) -> "SquareBatch":
        return SquareBatch(self.pixels.to(device), self.targets.to(device))


@dataclass
class SquareLoader:
    """Batches that depend on the seed and on the number of the epoch alone."""

    steps: int = 4
    batch: int = 4
    seed: int = 0
    rank: int = 0
    ranks: int = 1

    def __len__(self) -> int:
        return self.steps // self.ranks

    def close(self) -> None:
        pass

    def batches(self, epoch: int) -> Any:
        for step in range(self.rank, self.steps, self.ranks):
            numbers = (self.seed, epoch, step)
            made = [
                Squares.made(32, 32, int(np.random.default_rng([*numbers, n]).integers(1 << 31)))
                for n in range(self.batch)
            ]
            yield SquareBatch(
                torch.from_numpy(np.stack([one.pixels for one in made])),
                torch.from_numpy(np.stack([one.labels for one in made])) / 255,
            )


def network(seed: int = 0) -> nn.Module:
    """A convolution, a norm, some dropout and another convolution."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Dropout2d(0.1),
            nn.Conv2d(8, 1, 1),
        )


def plain_network() -> nn.Module:
    """The same without what depends on the other crops of a batch, or on chance."""
    first, _, rest, _, last = network()  # type: ignore[misc]
    return nn.Sequential(first, rest, last)


def normalised(pixels: Tensor) -> Tensor:
    return pixels.float() / 255 - 0.2


def lose(answer: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.binary_cross_entropy_with_logits(answer, targets)


class Falling:
    """A learning rate that falls from update to update."""

    def __init__(self, optimiser: torch.optim.Optimizer, lr: float) -> None:
        self._optimiser, self._lr = optimiser, lr

    def step_update(self, num_updates: int) -> None:
        for group in self._optimiser.param_groups:
            group["lr"] = self._lr / (1 + 0.02 * num_updates)


def parts(lr: float = 0.05, **changes: Any) -> Parts:
    made = Parts(
        network=network(),
        prepare=lambda batch: (normalised(batch.pixels), batch.targets),
        lose=lose,
        optimiser=lambda module: torch.optim.AdamW(module.parameters(), lr=lr),
        schedule=lambda optimiser, _updates: Falling(optimiser, lr),
        freeze=lambda *_: None,
    )
    return replace(made, **changes)


def small_fold(folder: Path, *, epochs: int = 4, plan: Any = None, **changes: Any) -> Fold:
    """A fold of four epochs whose files lie in a folder."""
    files = FoldFiles(folder)
    if not files.resume.exists():
        files.begin({})
    made = Fold(
        run="squares",
        parts=parts(),
        loader=SquareLoader(),
        pictures={f"v{i}": Squares.made(70, 100, 1000 + i) for i in range(2)},
        look=Look(normalised, core=32, pad=8),
        plan=Plan(epochs=epochs, **(plan or {})),
        files=files,
        seed=3,
        ema=0.8,
        precision="fp32",
    )
    return replace(made, **changes)


class Notes:
    """A scribe that remembers."""

    def __init__(self, then: Callable[[int], None] | None = None) -> None:
        self.epochs: dict[int, dict[str, float]] = {}
        self.closed = False
        self._then = then

    def write(self, epoch: int, numbers: Any) -> None:
        self.epochs[epoch] = dict(numbers)
        if self._then:
            self._then(epoch)

    def show(self, epoch: int, name: str, seen: Seen) -> None:
        pass

    def close(self) -> None:
        self.closed = True
