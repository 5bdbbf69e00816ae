"""How fast a training gets its crops, beside the loops that everybody writes, as a markdown table.

    make bench ONLY=training, or benchmarks/bench_training.py [--rounds 5] [--quick]

Crops of 512 x 512 come at a third of the resolution of a slide, with 2 processes. Ours come from
the cuts. The second way reads PNG cuts of 1024 x 1024 in a `DataLoader`, and augments them with
albumentations. The third reads windows of the slides, LZW in tiles, shrinks them, and does the
same. All turn and mirror each crop. Two of five are moved, turned and scaled. Two of five get
another brightness and contrast. All give normalised float32 pixels and float32 masks in batches of
16.

Ours recolours and normalises on the device, which is this processor here. The last line leaves that
out, as it is if a GPU does it. Workers are started and files lie in the page cache before the clock
starts. Each round is an epoch of every contestant. The table gives medians, and ratios are medians
of the rounds' ratios. The time of a core counts all processes, so other work on the machine hardly
changes it. A second table compares an epoch of the loop with plain torch, see `training_loop`.
"""

import argparse
import collections
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
import rasterio
import torch
from bench_reader import mosaic
from rasterio.windows import Window as RasterioWindow
from torch.utils.data import DataLoader, Dataset
from training_loop import epoch_time

from devkit.demo.layouts import write
from devkit.sandbox.footprint import process_tree
from devkit.training.cut_files import write_cut_files
from kernelkit.training.augment import OnDevice
from kernelkit.training.crops import CropData
from kernelkit.training.cuts import Cuts, make_cuts
from kernelkit.training.recipe import RunRecipe, TrainingRecipe

SCALE, WINDOW, CROP, BATCH, WORKERS = 3, 1024, 512, 16, 2
MEAN, STD = (0.6226, 0.4284, 0.6705), (0.1246, 0.1719, 0.0956)
RECIPE = f"""
name: bench
predicts: hubmap
images: "train/{{image}}.tif"
labels: {{masks: "masks/{{image}}.tif"}}
folds: {{lists: [[validates]]}}
windows: {{grid: {{around: grid, size: {WINDOW}, step: {CROP}}}}}
crop: {{size: {CROP}, random: 0.8}}
augment:
  - d4
  - {{affine: {{p: 0.4, shift: 0.1, scale: 0.2, rotate: 45}}}}
  - {{brightness_contrast: {{p: 0.4, brightness: 0.2, contrast: 0.2}}}}
model: {{arch: Unet, encoder_name: tu-regnety_002, encoder_weights: null}}
loss: {{bce: 1}}
epochs: 1
batch: {BATCH}
runs: {{bench: {{}}}}
"""

# What a contestant gives: batches of pixels (N, 3, S, S) and masks (N, 1, S, S).
type Batches = Iterator[tuple[torch.Tensor, torch.Tensor]]


def write_competition(folder: Path, size: int) -> None:
    """Write a slide that trains and a small one, in LZW tiles of 256, and masks of ellipses."""
    (folder / "train").mkdir(parents=True)
    (folder / "masks").mkdir()
    random = np.random.default_rng(0)
    for name, side in {"validates": SCALE * WINDOW, "trains": size}.items():
        write(folder / f"train/{name}.tif", mosaic(side), "tiled")
        mask = np.zeros((side, side), np.uint8)
        for _ in range(side * side // 4_000_000):
            centre = tuple(int(each) for each in random.integers(side, size=2))
            axes = tuple(int(each) for each in random.integers(150, 400, size=2))
            cv2.ellipse(mask, centre, axes, float(random.integers(180)), 0, 360, 1, -1)
        write(folder / f"masks/{name}.tif", mask[np.newaxis], "tiled")


def albumentations_steps() -> Callable[..., dict[str, torch.Tensor]]:
    """Return the augmentations of the recipe, as albumentations has them."""
    import albumentations as A
    from albumentations.pytorch import ToTensorV2

    return A.Compose(
        [
            A.D4(p=1),
            A.Affine(
                scale=(0.8, 1.2),
                translate_percent=(-0.1, 0.1),
                rotate=(-45, 45),
                interpolation=cv2.INTER_LINEAR,
                mask_interpolation=cv2.INTER_LINEAR,
                p=0.4,
            ),
            A.RandomBrightnessContrast(0.2, 0.2, p=0.4),
            A.Normalize(MEAN, STD),
            ToTensorV2(),
        ]
    )


class Augmented(Dataset):
    """Crops that are read as (H, W, C) and (H, W), and augmented with albumentations."""

    def __init__(self, windows: int, crops: int) -> None:
        self.windows, self.crops = windows, crops
        self.steps: Callable[..., dict[str, torch.Tensor]] | None = None

    def __len__(self) -> int:
        return self.crops

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        if self.steps is None:
            cv2.setNumThreads(1)
            self.steps = albumentations_steps()
        generator = np.random.default_rng((index, torch.initial_seed() % 2**32))
        pixels, mask = self.read(index % self.windows, generator)
        found = self.steps(image=pixels, mask=mask)
        return found["image"], found["mask"][None].float().div(255)

    def read(self, index: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        raise NotImplementedError


def corner(random: np.random.Generator) -> tuple[int, int]:
    """Where a crop lies in a window: anywhere in four of five, or in the middle."""
    spare = WINDOW - CROP
    if random.random() < 0.8:
        return int(random.integers(spare + 1)), int(random.integers(spare + 1))
    return spare // 2, spare // 2


class PngCuts(Augmented):
    """PNG files of windows and of their masks."""

    def __init__(self, folder: Path, crops: int) -> None:
        self.files = sorted(folder.glob("CUTS/*/imgs/trains/*.png"))
        super().__init__(len(self.files), crops)

    def read(self, index: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        path = self.files[index]
        pixels = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        mask_path = path.parents[2] / "masks" / path.parent.name / path.name
        mask = cv2.imread(str(mask_path), cv2.IMREAD_GRAYSCALE)
        row, col = corner(random)
        part = slice(row, row + CROP), slice(col, col + CROP)
        return pixels[part], mask[part]


class SlideWindows(Augmented):
    """Windows of the slides, which each worker opens for itself."""

    def __init__(self, folder: Path, cuts: Cuts, crops: int) -> None:
        self.folder = folder
        rows = cuts.kept.query("fold != 0")[["image", "row", "col"]].itertuples(index=False)
        self.places = [(str(row[0]), int(row[1]), int(row[2])) for row in rows]
        self.files: dict[str, tuple[rasterio.DatasetReader, rasterio.DatasetReader]] = {}
        super().__init__(len(self.places), crops)

    def read(self, index: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        image, top, left = self.places[index]
        if image not in self.files:
            self.files[image] = (
                rasterio.open(self.folder / f"train/{image}.tif"),
                rasterio.open(self.folder / f"masks/{image}.tif"),
            )
        row, col = corner(random)
        side = CROP * SCALE
        window = RasterioWindow((left + col) * SCALE, (top + row) * SCALE, side, side)
        slide, labels = self.files[image]
        pixels = slide.read(window=window, boundless=True).transpose(1, 2, 0)
        mask = labels.read(1, window=window, boundless=True) * 255
        size = (CROP, CROP)
        shrunk = cv2.resize(np.ascontiguousarray(pixels), size, interpolation=cv2.INTER_AREA)
        return shrunk, cv2.resize(mask, size, interpolation=cv2.INTER_AREA)


class Ours:
    """Our loader, and what is left to the device. Each iteration is an epoch."""

    def __init__(self, run: RunRecipe, cuts: Cuts, on_device: bool) -> None:
        self.loader = CropData(run, cuts, cuts.folds, 0).train_loader(0, WORKERS)
        self.on_device = OnDevice(run) if on_device else None
        self.epoch = 0

    def __iter__(self) -> Batches:
        self.epoch += 1
        for batch in self.loader.batches(self.epoch):
            if self.on_device is None:
                yield batch.pixels, batch.labels
            else:
                yield self.on_device(batch)[:2]


def peer(data: Augmented) -> DataLoader:
    """A `DataLoader` whose workers stay."""
    return DataLoader(
        data,
        BATCH,
        shuffle=True,
        num_workers=WORKERS,
        persistent_workers=True,
        multiprocessing_context="spawn",  # OpenCV's threads do not survive a fork
    )


def core_seconds() -> float:
    """The time that this process and all below it have computed."""
    times = (process.cpu_times() for process in process_tree(os.getpid()))
    return sum(each.user + each.system for each in times)


def race(contestants: dict[str, Iterable], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Return the seconds and the seconds of a core of each contestant's epochs."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    for turn in range(rounds + 1):
        for name, epoch in contestants.items():
            computed, started = core_seconds(), time.perf_counter()
            collections.deque(epoch, maxlen=0)
            if turn:  # the first starts the workers
                seconds = time.perf_counter() - started
                times[name].append((seconds, core_seconds() - computed))
    return times


def crops_per_second(folder: Path, rounds: int, quick: bool) -> None:
    """Print how many crops per second each way gives."""
    size, steps = (6000, 4) if quick else (12000, 30)
    crops = steps * BATCH
    write_competition(folder, size)
    run = TrainingRecipe.parse(RECIPE, overrides=[f"steps={steps}"]).runs["bench"]
    started = time.perf_counter()
    cuts = make_cuts(run, folder, folder / "cuts", WORKERS)
    made = time.perf_counter() - started
    started = time.perf_counter()
    files = write_cut_files(cuts, folder / "files", "png", WORKERS)
    written = time.perf_counter() - started
    contestants: dict[str, Iterable] = {
        "cuts": Ours(run, cuts, on_device=True),
        "PNG cuts, albumentations": peer(PngCuts(folder / "files", crops)),
        "windows of an LZW slide, albumentations": peer(SlideWindows(folder, cuts, crops)),
        "cuts, without the device's part": Ours(run, cuts, on_device=False),
    }
    times = race(contestants, rounds)
    print(f"\n## Crops of {CROP}^2, {WORKERS} workers, a slide of {size}^2, {len(files)} windows\n")
    print("| from | crops/s | ours is so many times as fast | ms of a core per crop | times ours |")
    print("|---|---|---|---|---|")
    for name, found in times.items():
        pairs = list(zip(found, times["cuts"], strict=True))
        speed = statistics.median(crops / seconds for seconds, _ in found)
        computed = statistics.median(1000 * seconds / crops for _, seconds in found)
        faster, cheaper = (
            statistics.median(theirs[which] / ours[which] for theirs, ours in pairs)
            for which in (0, 1)
        )
        print(f"| {name} | {speed:.0f} | {faster:.2f} | {computed:.1f} | {cheaper:.2f} |")
    print(f"\nCuts were made in {made:.1f} s, and written as PNG files in {written:.1f} s more.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="rounds of all contestants (5)")
    parser.add_argument("--quick", action="store_true", help="smaller slides, fewer crops")
    options = parser.parse_args()
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    torch.set_num_threads(1)  # as a fold is trained on a processor: the workers have the others
    with tempfile.TemporaryDirectory() as name:
        crops_per_second(Path(name), options.rounds, options.quick)
    epoch_time(options.rounds, options.quick)


if __name__ == "__main__":
    main()
