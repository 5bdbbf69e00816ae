"""Stitching without a model: Mpx/s and extra memory of `Canvas` and of its peers, as markdown.

    make bench ONLY=canvas, or benchmarks/bench_canvas.py [--quick]

The image is square, and its tiles of 1024 overlap by 50 %. The model costs nothing: it gives the
same tile each time. Each contestant runs in a process of its own. First everything is imported and
warmed up, and the tile is made. Extra memory is the peak of the resident set above that. Peers end
with an image of float probabilities, ours with the thresholded mask. Peers that are not installed
are left out (requirements/bench.in): monai, pytorch-toolbelt, tiler.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

TILE, STEP = 1024, 512


def corners(size: int) -> Iterator[tuple[int, int]]:
    """Upper left corners of the tiles. The last ones are moved inward, as MONAI and Canvas do."""
    line = [*range(0, size - TILE, STEP), size - TILE]
    return ((row, col) for row in line for col in line)


def hann() -> np.ndarray:
    line = np.sin(np.pi * (np.arange(TILE) + 0.5) / TILE) ** 2
    return np.outer(line, line).astype(np.float32)


def constant_tile() -> np.ndarray:
    return np.random.default_rng(0).random((1, TILE, TILE), np.float32)


def canvas(blend: str, dtype: str) -> Callable[[int], None]:
    from kernelkit.canvas import Canvas
    from kernelkit.grid import TileGrid

    tile = constant_tile()
    if dtype == "uint8":
        tile = np.rint(tile * 255).astype(np.uint8)

    def run(size: int) -> None:
        grid = TileGrid(size, size, core=STEP, pad=(TILE - STEP) // 2, edges="shift")
        target = Canvas(grid, blend=blend)
        for place in grid:
            target.add(place, tile)
        target.finish()

    return run


def monai_sliding_window(**options: object) -> Callable[[int], None]:
    import torch
    from monai.inferers import sliding_window_inference

    # it multiplies its weights into our tile, and only 0 stays
    tile = torch.zeros(1, 1, TILE, TILE)

    def run(size: int) -> None:
        image = torch.zeros(1, 1, 1, 1).expand(1, 1, size, size)  # an image that takes no memory
        with torch.inference_mode():
            sliding_window_inference(
                image, (TILE, TILE), 1, lambda _: tile, overlap=0.5, mode="gaussian", **options
            )

    return run


def monai_merger() -> Callable[[int], None]:
    import torch
    from monai.inferers.merger import AvgMerger

    tile = torch.from_numpy(constant_tile())[None]

    def run(size: int) -> None:
        merger = AvgMerger((1, 1, size, size))
        for corner in corners(size):
            merger.aggregate(tile, corner)
        merger.finalize()

    return run


def toolbelt() -> Callable[[int], None]:
    import torch
    from pytorch_toolbelt.inference.tiles import TileMerger

    batch = torch.from_numpy(constant_tile())[None]

    def run(size: int) -> None:
        merger = TileMerger((size, size), 1, hann())
        for row, col in corners(size):
            merger.integrate_batch(batch, [(col, row, TILE, TILE)])
        merger.merge_()

    return run


def tiler() -> Callable[[int], None]:
    from tiler import Merger, Tiler

    tile = constant_tile()[0]

    def run(size: int) -> None:
        plan = Tiler(data_shape=(size, size), tile_shape=(TILE, TILE), overlap=0.5)
        merger = Merger(plan, window=hann())
        for index in range(len(plan)):
            merger.add(index, tile)
        merger.merge()

    return run


CONTESTANTS: dict[str, tuple[str, Callable[[], Callable[[int], None]]]] = {
    "kernelkit Canvas, hann, uint8 tiles": ("kernelkit", lambda: canvas("hann", "uint8")),
    "kernelkit Canvas, hann, float32 tiles": ("kernelkit", lambda: canvas("hann", "float32")),
    "kernelkit Canvas, crop, uint8 tiles": ("kernelkit", lambda: canvas("crop", "uint8")),
    "kernelkit Canvas, crop, float32 tiles": ("kernelkit", lambda: canvas("crop", "float32")),
    "MONAI sliding_window_inference, gaussian": ("monai", monai_sliding_window),
    "MONAI the same, buffered": (
        "monai",
        lambda: monai_sliding_window(buffer_steps=1, buffer_dim=0),
    ),
    "MONAI AvgMerger, mean": ("monai", monai_merger),
    "pytorch-toolbelt TileMerger, hann": ("pytorch_toolbelt", toolbelt),
    "tiler Merger, hann": ("tiler", tiler),
}


def status_bytes(key: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(key)


def measure(name: str, size: int, repeats: int) -> None:
    """Run one contestant in this process and print its best time and its peak as JSON."""
    run = CONTESTANTS[name][1]()
    run(3 * TILE)
    before = status_bytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # start the peak again
    seconds, work = [], []
    for _ in range(repeats):
        start, worked = time.perf_counter(), time.process_time()
        run(size)
        seconds.append(time.perf_counter() - start)
        work.append(time.process_time() - worked)
    extra = status_bytes("VmHWM") - before
    print(json.dumps({"seconds": min(seconds), "work": min(work), "extra": extra}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="an image of 6000 x 6000, once each")
    parser.add_argument("--size", type=int, help="side of the image (default: 20000)")
    parser.add_argument("--repeats", type=int, default=2, help="the best of so many counts")
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    options = parser.parse_args()
    size = options.size or (6000 if options.quick else 20_000)
    repeats = 1 if options.quick else options.repeats
    if options.contestant:
        measure(options.contestant, size, repeats)
        return
    print(f"Stitching {size} x {size}, tiles of {TILE}, {STEP} px overlap, one class\n")
    print("| method | seconds | core seconds | Mpx/s | extra peak, MB |\n|---|---|---|---|---|")
    for name, (module, _) in CONTESTANTS.items():
        if importlib.util.find_spec(module) is None:
            print(f"| {name} | not installed | | | |")
            continue
        command = [sys.executable, __file__, "--contestant", name]
        command += ["--size", str(size), "--repeats", str(repeats)]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        if answer.returncode:
            reason = (answer.stderr.strip().splitlines() or [f"exit code {answer.returncode}"])[-1]
            print(f"| {name} | failed: {reason} | | | |", flush=True)
            continue
        found = json.loads(answer.stdout.splitlines()[-1])
        speed = size * size / found["seconds"] / 1e6
        times = f"{found['seconds']:.2f} | {found['work']:.2f}"
        print(f"| {name} | {times} | {speed:.0f} | {found['extra'] / 1e6:.0f} |", flush=True)


if __name__ == "__main__":
    main()
