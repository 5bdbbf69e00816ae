"""How fast MegaModel predicts tiles, and how busy it keeps the GPU: one table, within 8 minutes.

    make bench ONLY=ensemble, or benchmarks/bench_ensemble.py

There are two ensembles of random weights. One has sixteen U-Nets of about 25 M parameters, with 4
views. The other is one small U-Net. Tiles are HuBMAP's: 2304 px read at scale 3, 1536 px of them
core, in batches of 8. The cores come down as packed bits. The reference is the loop that everybody
writes. It runs each member after the other in eager float32, with TF32 off and on. Without a GPU
the benchmark says so, and measures two small members on the CPU.

`busy` is the share of time in which the GPU computed or copied. `times` compares with the first
line. `Dice` compares masks with the first line's, on parts of a photograph. Networks of random
weights answer around one value, so they are cut at their median. Trained ones are cut where it is
easier. `h / 6.04 Gpx` is the time for HuBMAP's public test set at scale 3 on this device.
"""

import argparse
import gc
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import segmentation_models_pytorch as smp
import torch
import yaml
from matplotlib import cbook
from torch import Tensor, nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from kernelkit.checkpoints import load_members
from kernelkit.ensemble import MegaModel
from kernelkit.ensemble.device import device_name
from kernelkit.ensemble.normalise import normalise
from kernelkit.ensemble.tta import view_set
from kernelkit.grid import Tile, TileGrid
from kernelkit.mask import BitMask
from kernelkit.recipe import EnsembleRecipe, Execution
from kernelkit.vocabulary import Precision

SCALE = 3
HUBMAP_MPX = 6040


@dataclass(frozen=True)
class Case:
    """An ensemble, and the tiles that it gets."""

    title: str
    encoder: str
    members: int
    views: str
    core: int
    pad: int
    batch: int

    @property
    def source_mpx(self) -> float:
        """Source pixels per batch, in millions."""
        return self.batch * self.core**2 / 1e6


@dataclass(frozen=True)
class Row:
    name: str
    mpx_per_s: float
    busy: float | None = None
    memory_gb: float | None = None
    warm_up_s: float = 0.0
    agreement: float | None = None


SIXTEEN = Case("sixteen members of 24 M parameters", "resnet34", 16, "hubmap", 1536, 384, 8)
SMALL = Case("one small member", "resnet18", 1, "identity", 1536, 384, 8)
ON_CPU = Case("two small members", "resnet18", 2, "identity", 576, 96, 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=6, help="to measure each line for")
    parser.add_argument("--minutes", type=float, default=8, help="after which nothing is begun")
    options = parser.parse_args()
    deadline = time.perf_counter() + 60 * options.minutes - 30
    gpu = torch.cuda.is_available()
    if not gpu:
        print("There is no GPU here. The figures are the CPU's, with small members.")
    print(
        f"device: {device_name(torch.device('cuda' if gpu else 'cpu'))}, torch {torch.__version__}"
    )
    for case in (SMALL, SIXTEEN) if gpu else (ON_CPU,):
        with tempfile.TemporaryDirectory() as folder:
            write_members(Path(folder), case)
            rows = measure(Path(folder), case, gpu, options.seconds, deadline)
            print_table(case, list(rows))


def write_members(folder: Path, case: Case) -> None:
    """One run of as many folds as the case has members, of random weights."""
    (folder / "unet").mkdir()
    description = {"arch": "Unet", "encoder_name": case.encoder, "in_channels": 3, "classes": 1}
    (folder / "unet/cfg.yaml").write_text(yaml.safe_dump({"MODEL": description}))
    for fold in range(case.members):
        torch.manual_seed(fold)
        network = smp.create_model(**description, encoder_weights=None)
        (folder / f"unet/fold_{fold}").mkdir()
        torch.save(network.state_dict(), folder / f"unet/fold_{fold}/e1.pth")


def measure(folder: Path, case: Case, gpu: bool, seconds: float, deadline: float) -> Iterator[Row]:
    """Measure the reference, then MegaModel's options, which are compared with it."""
    batch = Batch.make(case)
    rows, threshold, expected = measure_reference(folder, case, batch, seconds, gpu)
    yield from rows
    forget()
    recipe = EnsembleRecipe(name="bench", views=case.views, thresholds=(threshold,))
    for name, precision, execution in options_of(case, gpu):
        if time.perf_counter() > deadline:
            print(f"  {name}: left out, since the time is over")
            continue
        model = MegaModel(
            folder, recipe=recipe, precision=precision, batch=case.batch, execution=execution
        )
        agreement = dice(model.preprocess_and_infer(batch.pixels), expected)
        row = timed(name, case, in_bits(model), batch, seconds, gpu)
        for note in model.notes:
            print(f"  {name}: {note}")
        yield replace(row, warm_up_s=model.warm_up_seconds, agreement=agreement)
        del model
        forget()


def measure_reference(
    folder: Path, case: Case, batch: "Batch", seconds: float, gpu: bool
) -> tuple[list[Row], float, np.ndarray]:
    """The eager loop's speed, the threshold that cuts its answers, and its masks."""
    recipe = EnsembleRecipe(name="bench", views=case.views)
    loop = EagerLoop(folder, recipe, "cuda" if gpu else "cpu")
    allow_tf32(False)
    probabilities = loop(batch.pixels)
    # Networks of random weights answer around one value. A cut there is the hardest.
    threshold = float(probabilities.median())
    rows = []
    for tf32 in (False, True) if gpu else (False,):
        allow_tf32(tf32)
        name = f"eager fp32 loop{', TF32' if tf32 else ''}"
        rows.append(timed(name, case, lambda b: loop(b.pixels).cpu(), batch, seconds, gpu))
    return rows, threshold, probabilities.cpu().numpy() > threshold


def allow_tf32(allowed: bool) -> None:
    torch.backends.cudnn.allow_tf32 = allowed
    torch.backends.cuda.matmul.allow_tf32 = allowed


def options_of(case: Case, gpu: bool) -> list[tuple[str, Precision, Execution]]:
    """The precisions and options worth a line, the default first."""
    if not gpu:
        return [
            ("bf16", "bf16", Execution()),
            ("bf16, norms kept", "bf16", Execution(fuse_norms=False)),
            ("bf16, contiguous", "bf16", Execution(channels_last=False)),
            ("fp32", "fp32", Execution()),
        ]
    lines: list[tuple[str, Precision, Execution]] = [
        ("fp16", "fp16", Execution()),
        ("fp16, CUDA graph", "fp16", Execution(cuda_graph=True)),
        ("fp16, norms kept", "fp16", Execution(fuse_norms=False)),
        ("bf16", "bf16", Execution()),
        ("fp16, contiguous", "fp16", Execution(channels_last=False)),
    ]
    if case.members == 1:  # sixteen take minutes to compile
        lines.append(("fp16, torch.compile", "fp16", Execution(compile=True)))
    return lines


@dataclass(frozen=True)
class Batch:
    pixels: np.ndarray
    tiles: list[Tile]

    @classmethod
    def make(cls, case: Case) -> "Batch":
        """A batch of tiles inside a slide. Their pixels are parts of a photograph."""
        side = 3 * case.core * case.batch
        grid = TileGrid(side, side, core=case.core, pad=case.pad, scale=SCALE)
        path = cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
        part = grid.net_size // 2
        photograph = cv2.imread(str(path))
        offsets = np.linspace(
            (0, 0), np.subtract(photograph.shape[:2], part), case.batch, dtype=int
        )
        tiles = [
            cv2.resize(photograph[row : row + part, column : column + part], (grid.net_size,) * 2)
            for row, column in offsets
        ]
        pixels = np.stack(tiles).transpose(0, 3, 1, 2).copy()
        return cls(pixels, [grid[grid.columns + 1 + i] for i in range(case.batch)])


class EagerLoop:
    """The plain way: every member in float32, one after the other, view by view."""

    def __init__(self, folder: Path, recipe: EnsembleRecipe, device: str) -> None:
        self._networks: list[nn.Module] = [m.module.to(device) for m in load_members(folder)]
        self._recipe = recipe
        self._device = device

    @torch.no_grad()
    def __call__(self, pixels: np.ndarray) -> Tensor:
        tiles = normalise(torch.from_numpy(pixels).to(self._device), self._recipe.input)
        views = view_set(self._recipe.views).views
        answers = [
            torch.stack([v.undo(network(v.apply(tiles))) for v in views]).mean(0).sigmoid()
            for network in self._networks
        ]
        return torch.stack(answers).mean(0)


def in_bits(model: MegaModel) -> Callable[[Batch], object]:
    """Ask for packed bits, and wait only for those of the batch before."""
    before = None

    def step(batch: Batch) -> object:
        nonlocal before
        answers = model.predict(batch.pixels, [tile.index for tile in batch.tiles])
        now = answers.bits(batch.tiles, SCALE, model.recipe.thresholds)
        arrived = before.result() if before is not None else None
        before = now
        return arrived

    return step


def timed(
    name: str,
    case: Case,
    step: Callable[[Batch], object],
    batch: Batch,
    seconds: float,
    gpu: bool,
) -> Row:
    """Speed over at least three batches and `seconds`, after one that does not count.

    For a GPU it is the mean, since it works on while the next batch is asked for. For a CPU it is
    that of the fastest batch, since others use the CPU too.
    """
    print(f"  {name} ...", file=sys.stderr, flush=True)
    step(batch)
    if gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    times = [time.perf_counter()]
    while len(times) < 4 or times[-1] - times[0] < seconds:
        step(batch)
        times.append(time.perf_counter())
    if gpu:
        torch.cuda.synchronize()
        seconds_a_batch = (time.perf_counter() - times[0]) / (len(times) - 1)
    else:
        seconds_a_batch = min(after - before for before, after in pairwise(times))
    return Row(
        name,
        case.source_mpx / seconds_a_batch,
        busy=gpu_busy(step, batch) if gpu else None,
        memory_gb=torch.cuda.max_memory_allocated() / 1e9 if gpu else None,
    )


def gpu_busy(step: Callable[[Batch], object], batch: Batch, batches: int = 4) -> float:
    """The share of time in which the GPU computed or copied, from its first moment on."""
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        for _ in range(batches):
            step(batch)
        torch.cuda.synchronize()
    spans = sorted(
        (event.time_range.start, event.time_range.end)
        for event in profiler.events()
        if event.device_type == DeviceType.CUDA
    )
    busy, reached = 0.0, spans[0][0]
    for begin, end in spans:
        busy += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return busy / (reached - spans[0][0])


def dice(first: np.ndarray, second: np.ndarray) -> float:
    """Dice of two arrays of masks (..., h, w)."""
    one, other = (BitMask.from_array(a.reshape(-1, a.shape[-1])) for a in (first, second))
    return one.dice(other)


def forget() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def print_table(case: Case, rows: list[Row]) -> None:
    side = (case.core + 2 * case.pad) // SCALE
    print(f"\n{case.title}, views {case.views}, {case.batch} tiles of {side} px")
    print(
        f"{'':22} {'source Mpx/s':>13} {'times':>6} {'busy':>6} {'memory':>9} {'warm-up':>8} "
        f"{'Dice':>7} {'h / 6.04 Gpx':>13}"
    )
    for row in rows:
        busy = "" if row.busy is None else f"{row.busy:.0%}"
        memory = "" if row.memory_gb is None else f"{row.memory_gb:.1f} GB"
        agreement = "" if row.agreement is None else f"{row.agreement:.4f}"
        print(
            f"{row.name:22} {row.mpx_per_s:13.2f} {row.mpx_per_s / rows[0].mpx_per_s:6.2f} "
            f"{busy:>6} {memory:>9} {row.warm_up_s:6.1f} s {agreement:>7} "
            f"{HUBMAP_MPX / row.mpx_per_s / 3600:13.2f}"
        )


if __name__ == "__main__":
    main()
