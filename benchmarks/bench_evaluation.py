"""The search of thresholds and minimum sizes, beside the loop of notebooks, as markdown.

    make bench ONLY=evaluation, or benchmarks/bench_evaluation.py [--quick]

Pictures are 350 x 525 with four classes, as the clouds competition's are submitted. Slides are
10 000 x 10 000 bytes, a third of 30 000 x 30 000. The loop is that of public notebooks: numpy
thresholds, cv2 finds components, and large ones are copied one by one. It takes hours, so it is
timed on a sample, and its answer is compared with ours before. Peak memory is that of a process of
its own. On a busy machine, the seconds of a core say more than those of the clock.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from kernelkit.evaluation.search.sharing import choose
from kernelkit.evaluation.search.space import Space
from kernelkit.evaluation.search.table import Areas, SweepTable, sweep_image
from kernelkit.mask import BitMask

PICTURE = 350, 525
CLASSES = 4
SPACE = Space.between(0.2, 0.89, 0.01, sizes=tuple(range(0, 20_000, 1000)), keep=">")
SLIDE_SPACE = Space.between(0.2, 0.9, 0.01, sizes=(0, 100, 1000, 10_000))
# pictures that differ. More of them would take the time of the benchmark
DISTINCT = 20


def hills(size: tuple[int, int], smooth: float, seed: int, share: float) -> np.ndarray:
    """A smooth map of bytes, of which about `share` is above 0."""
    rng = np.random.default_rng(seed)
    coarse = tuple(max(4, round(side / smooth)) for side in size)
    ground = rng.standard_normal(coarse).astype(np.float32)
    ground = cv2.resize(ground, size[::-1], interpolation=cv2.INTER_CUBIC)
    low, high = np.quantile(ground[::7, ::7], [1 - share, 0.999])
    noise = rng.integers(-3, 4, size, dtype=np.int8)
    values = np.clip((ground - low) / (high - low) * 255, 0, 255)
    return np.clip(values + noise * (values > 0), 0, 255).astype(np.uint8)


@cache
def picture(seed: int) -> tuple[np.ndarray, list[BitMask]]:
    """The probabilities of four classes, and masks that are like them."""
    planes = np.stack([hills(PICTURE, 70, seed * CLASSES + k, 0.7) for k in range(CLASSES)])
    others = (hills(PICTURE, 70, 10_000 + seed * CLASSES + k, 0.7) for k in range(CLASSES))
    truth = [
        BitMask.from_array(plane // 2 + other // 2, 150)
        for plane, other in zip(planes, others, strict=True)
    ]
    return planes, truth


def ours(pictures: int, threads: int) -> SweepTable:
    """Sweep pictures in threads, as `sweep_stored` does."""

    def swept(number: int) -> tuple[str, Areas]:
        planes, truth = picture(number % DISTINCT)
        return str(number), sweep_image(planes, truth, SPACE, range(CLASSES))

    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(swept, range(pictures)))
    return SweepTable.of(SPACE, [str(k) for k in range(CLASSES)], found)


def post_process(probability: np.ndarray, threshold: float, min_size: int) -> np.ndarray:
    """The function of the clouds notebooks."""
    mask = cv2.threshold(probability, threshold, 1, cv2.THRESH_BINARY)[1]
    count, components = cv2.connectedComponents(mask.astype(np.uint8))
    predictions = np.zeros(PICTURE, np.float32)
    for number in range(1, count):
        component = components == number
        if component.sum() > min_size:
            predictions[component] = 1
    return predictions


def notebooks_dice(found: np.ndarray, truth: np.ndarray) -> float:
    if found.sum() == 0 and truth.sum() == 0:
        return 1.0
    return 2 * (found * truth).sum() / (found.sum() + truth.sum())


def time_notebook(table: SweepTable, samples: int) -> float:
    """The seconds per picture, class, threshold and size. Answers are compared with ours."""
    rng = np.random.default_rng(0)
    shape = min(DISTINCT, len(table.images)), CLASSES, *SPACE.shape
    places = [tuple(int(rng.integers(n)) for n in shape) for _ in range(samples)]
    seconds = 0.0
    for number, label, t, s in places:
        planes, truth = picture(number)
        probability = planes[label] / np.float32(255)
        mask = truth[label].to_array()
        threshold = np.float32(SPACE.thresholds[t])
        start = time.perf_counter()
        score = notebooks_dice(post_process(probability, threshold, SPACE.sizes[s]), mask)
        seconds += time.perf_counter() - start
        found, both = (int(each[number, label, t, s]) for each in (table.found, table.both))
        total = found + int(table.truth[number, label])
        assert abs(score - (2 * both / total if total else 1)) < 1e-6, (number, label, t, s)
    return seconds / samples


def bench_pictures(pictures: int, samples: int) -> None:
    cores = len(os.sched_getaffinity(0))
    ours(2, 1)  # compiles
    for number in range(DISTINCT):
        picture(number)
    start, worked = time.perf_counter(), time.process_time()
    table = ours(pictures, cores)
    swept, worked = time.perf_counter() - start, time.process_time() - worked
    start = time.perf_counter()
    for _ in (choose(table), choose(table, "class")):
        pass
    chose = time.perf_counter() - start
    each = time_notebook(table, samples)
    loops = each * pictures * CLASSES * SPACE.shape[0] * SPACE.shape[1]
    print(f"""
## {SPACE.shape[0]} thresholds x {SPACE.shape[1]} sizes x {CLASSES} classes, {pictures} pictures

| | seconds | x ours |
|---|---|---|
| one pass, {cores} threads ({worked:.1f} s of a core in all) | {swept:.1f} | |
| choosing, once for all and once per class | {chose:.1f} | |
| **ours** | **{swept + chose:.1f}** | 1 |
| numpy and cv2 on one core, from {samples} samples | {loops:.0f} | {loops / (swept + chose):.0f} |
""")


def slide(kind: str, side: int) -> tuple[np.ndarray, BitMask]:
    """Probabilities at a third, and a mask at full size of pixels enlarged by 3."""
    if kind == "glomeruli":
        plane = hills((side, side), 60, 5, 0.03)
    else:
        plane = hills((side, side), 60, 6, 1.0)
    truth = BitMask.zeros(3 * side, 3 * side)
    for top in range(0, side, 500):
        rows = (plane[top : top + 500] > 128).repeat(3, 0).repeat(3, 1)
        truth.paste(3 * top, 0, BitMask.from_array(rows))
    return plane, truth


def make_slide(kind: str, side: int, folder: Path) -> None:
    plane, truth = slide(kind, side)
    np.save(folder / "plane.npy", plane)
    truth.save(folder / "truth.npz")


def time_slide(folder: Path) -> None:
    """Print the seconds of one slide, those of a core, and the memory of the process in all."""
    plane, truth = slide("hills", 100)
    sweep_image(plane[None], [truth], SLIDE_SPACE, [0], scale=3)  # compiles
    plane = np.load(folder / "plane.npy", mmap_mode="r")  # as a store gives it
    truth = BitMask.load(folder / "truth.npz")
    start, worked = time.perf_counter(), time.process_time()
    sweep_image(plane[None], [truth], SLIDE_SPACE, [0], scale=3)
    seconds, worked = time.perf_counter() - start, time.process_time() - worked
    print(seconds, worked, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)


def bench_slides(side: int) -> None:
    print(f"""
## {SLIDE_SPACE.shape[0]} thresholds x {SLIDE_SPACE.shape[1]} sizes, slides of {side} x {side} bytes

| | seconds a slide | of a core | 15 slides | peak memory |
|---|---|---|---|---|""")
    for kind in ("glomeruli", "hills all over"):
        with tempfile.TemporaryDirectory() as folder:
            in_process("--slide", kind, "--side", str(side), "--folder", folder)
            answer = in_process("--folder", folder)
        seconds, worked, gigabytes = map(float, answer.split())
        columns = f"{seconds:.1f} | {worked:.1f} | {15 * seconds:.0f} s | {gigabytes:.2f} GB"
        print(f"| {kind} | {columns} |")


def in_process(*arguments: str) -> str:
    command = [sys.executable, __file__, *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the work")
    parser.add_argument("--slide", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--side", type=int, default=10_000, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.slide:
        make_slide(arguments.slide, arguments.side, arguments.folder)
        return
    if arguments.folder:
        time_slide(arguments.folder)
        return
    pictures, samples, side = (50, 20, 3000) if arguments.quick else (500, 200, 10_000)
    bench_pictures(pictures, samples)
    bench_slides(side)


if __name__ == "__main__":
    main()
