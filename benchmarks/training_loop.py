"""Our loop beside the same training in plain torch: the time of an epoch, as a markdown table.

Both train the same U-Net on the same batches, which lie in memory. Both normalise them, and have
the same loss, optimiser, learning rates and moving average. Ours also looks for losses that are no
number, writes numbers down, and writes the file to resume from after each epoch. The last line
leaves that file out. One thread computes. Ratios are medians of the rounds' ratios of core time, so
other work on the machine hardly changes them.
"""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from kernelkit.training.loop.files import FoldFiles
from kernelkit.training.loop.fold import Fold, fit
from kernelkit.training.loop.module import Parts
from kernelkit.training.loop.rounds import Plan
from kernelkit.training.loop.validation import Look

CROP, BATCH, EPOCHS, DECAY, LR = 128, 8, 2, 0.99, 1e-3


@dataclass
class Batch:
    pixels: Tensor
    targets: Tensor

    def to(self, device: torch.device) -> "Batch":
        return Batch(self.pixels.to(device), self.targets.to(device))


class InMemory:
    """The same batches in every epoch."""

    def __init__(self, steps: int) -> None:
        source = torch.Generator().manual_seed(0)
        size = (BATCH, 3, CROP, CROP)
        self._batches = [
            Batch(
                torch.randint(0, 256, size, dtype=torch.uint8, generator=source),
                (torch.rand((BATCH, 1, CROP, CROP), generator=source) > 0.9).float(),
            )
            for _ in range(steps)
        ]

    def __len__(self) -> int:
        return len(self._batches)

    def batches(self, _epoch: int) -> Iterator[Batch]:
        yield from self._batches

    def close(self) -> None:
        pass


def now() -> Tensor:
    """Seconds on the clock, and those that this process had a core."""
    return torch.tensor([time.perf_counter(), time.process_time()], dtype=torch.float64)


class Clock:
    """A scribe that looks at the clock."""

    def __init__(self) -> None:
        self.times: list[Tensor] = []

    def write(self, _epoch: int, _numbers: Any) -> None:
        self.times.append(now())

    def show(self, *_: Any) -> None:
        pass

    def close(self) -> None:
        pass


class WithoutResume(FoldFiles):
    def save(self, path: Path, content: Any) -> None:
        if path != self.resume:
            super().save(path, content)


def network() -> nn.Module:
    torch.manual_seed(0)
    return smp.Unet("tu-regnety_002", encoder_weights=None).train()


def normalised(pixels: Tensor) -> Tensor:
    return (pixels.float() / 255 - 0.5) / 0.25


def lose(answer: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.binary_cross_entropy_with_logits(answer, targets)


class Schedule:
    def __init__(self, optimiser: torch.optim.Optimizer) -> None:
        self._optimiser = optimiser

    def step_update(self, number: int) -> None:
        for group in self._optimiser.param_groups:
            group["lr"] = LR / (1 + 0.01 * number)


def bare(loader: InMemory) -> Tensor:
    """Seconds per epoch of a loop in plain torch, without the first epoch."""
    model = network().to(memory_format=torch.channels_last)
    average = ModelEmaV3(model, decay=DECAY)
    optimiser = torch.optim.AdamW(model.parameters(), lr=LR)
    schedule, updates, began = Schedule(optimiser), 0, now()
    for epoch in range(EPOCHS):
        began = now() if epoch == 1 else began
        for batch in loader.batches(epoch):
            pixels = normalised(batch.pixels).contiguous(memory_format=torch.channels_last)
            loss = lose(model(pixels), batch.targets)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            updates += 1
            schedule.step_update(updates)
            average.update(model)
            loss.item()
    return (now() - began) / (EPOCHS - 1)


def ours(loader: InMemory, kind: type[FoldFiles] = FoldFiles) -> Tensor:
    """Seconds per epoch of our loop, without the first epoch."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as name:
        files = kind(Path(name) / "fold_0")
        files.begin({})
        fold = Fold(
            run="bench",
            parts=Parts(
                network=network(),
                prepare=lambda batch: (normalised(batch.pixels), batch.targets),
                lose=lose,
                optimiser=lambda module: torch.optim.AdamW(module.parameters(), lr=LR),
                schedule=lambda optimiser, _: Schedule(optimiser),
                freeze=lambda *_: None,
            ),
            loader=loader,
            pictures={"none": None},  # type: ignore[dict-item]  # nothing is judged
            look=Look(normalised),
            plan=Plan(epochs=EPOCHS, every=None, keep=()),
            files=files,
            ema=DECAY,
            precision="fp32",
        )
        fit(fold, [torch.device("cpu")], lambda _: None, lambda _: clock)
    return (clock.times[-1] - clock.times[0]) / (EPOCHS - 1)


def epoch_time(rounds: int, quick: bool) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    loader = InMemory(6 if quick else 40)
    contestants = {
        "plain torch": bare,
        "our loop": ours,
        "our loop, without the file to resume from": lambda one: ours(one, WithoutResume),
    }
    seconds: dict[str, list[Tensor]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, measure in contestants.items():
            seconds[name].append(measure(loader))
    print(f"\n| an epoch of {len(loader)} batches of {BATCH} | s | core s | ratio |")
    print("|---|---|---|---|")
    plain = torch.stack(seconds["plain torch"])[:, 1]
    for name, found in seconds.items():
        times = torch.stack(found)
        wall, core = times.median(0).values.tolist()
        ratio = float((times[:, 1] / plain).median())
        print(f"| {name} | {wall:.2f} | {core:.2f} | {ratio:.3f} |")
