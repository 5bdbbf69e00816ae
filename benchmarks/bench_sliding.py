"""A torch network over one large image: memory and time beside MONAI's sliding window, as markdown.

    make bench ONLY=sliding, or benchmarks/bench_sliding.py [--size 20000]

The image is a tiled TIFF of JPEG blocks, and the network a small UNet of MONAI. Both sides use the
same weights, windows of 1024 that overlap by 256, and Gaussian weights. Both end with a mask of the
pixels above 0.5. Each contestant runs in a process of its own. Its memory is the peak of the
proportional set (PSS) of that process and its children, less what it holds before it begins.
MONAI's function takes a tensor, so tifffile reads the file into one.
"""

import argparse
import importlib.util
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

TILE, OVERLAP, BATCH = 1024, 256, 4


def network() -> Any:
    import torch
    from monai.networks.nets import UNet

    torch.manual_seed(0)
    return UNet(2, 3, 1, channels=(8, 16), strides=(2,)).eval()


def kernelkit(path: Path) -> float:
    import torch

    from kernelkit import Canvas, Slide, TileGrid, TileReader

    net = network()
    with Slide(path) as slide:
        grid = TileGrid(slide.height, slide.width, TILE - OVERLAP, pad=OVERLAP // 2, edges="shift")
        canvas = Canvas(grid, blend="gaussian")
        for batch in TileReader(slide, grid, workers=2).batches(BATCH):
            with torch.inference_mode():
                answers = net(torch.from_numpy(batch.pixels) / 255).sigmoid().numpy()
            for tile, probabilities in zip(batch.tiles, answers, strict=True):
                canvas.add(tile, probabilities)
    [mask] = canvas.finish()
    return mask.area / (slide.height * slide.width)


def monai(path: Path, **options: Any) -> float:
    import tifffile
    import torch
    from monai.inferers import sliding_window_inference

    net = network()
    pixels = torch.from_numpy(tifffile.imread(path)).permute(2, 0, 1)[None] / 255
    with torch.inference_mode():
        answers = sliding_window_inference(
            pixels,
            (TILE, TILE),
            BATCH,
            lambda window: net(window).sigmoid(),
            overlap=OVERLAP / TILE,
            mode="gaussian",
            **options,
        )
        return int(torch.count_nonzero(answers > 0.5)) / answers.numel()


CONTESTANTS: dict[str, Callable[[Path], float]] = {
    "kernelkit TileReader, Canvas": kernelkit,
    "MONAI sliding_window_inference": monai,
    "MONAI the same, buffered": lambda path: monai(path, buffer_steps=1, buffer_dim=0),
}


def write_image(path: Path, size: int) -> None:
    """Write an image of smooth noise, row of blocks by row of blocks."""
    import rasterio
    from rasterio.windows import Window

    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (3, TILE // 4, TILE // 4), dtype=np.uint8)
    brick = np.kron(coarse, np.ones((1, 4, 4), np.uint8))
    row = np.tile(brick, (1, 1, -(-size // TILE)))[:, :, :size]
    profile = {
        "driver": "GTiff",
        "height": size,
        "width": size,
        "count": 3,
        "dtype": "uint8",
        "tiled": True,
        "blockxsize": 256,
        "blockysize": 256,
        "compress": "jpeg",
        "photometric": "ycbcr",
    }
    with rasterio.open(path, "w", **profile) as file:
        for top in range(0, size, TILE):
            height = min(TILE, size - top)
            file.write(row[:, :height], window=Window(0, top, size, height))


class Peak(threading.Thread):
    """The largest memory of this process and of its children, in bytes."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.bytes = self.before = _pss()
        self._is_over = threading.Event()

    def run(self) -> None:
        while not self._is_over.wait(0.2):
            self.bytes = max(self.bytes, _pss())

    def stop(self) -> int:
        self._is_over.set()
        self.join()
        return max(self.bytes, _pss()) - self.before


def _pss() -> int:
    import psutil

    own = psutil.Process()
    total = 0
    for process in (own, *own.children(recursive=True)):
        try:
            total += process.memory_full_info().pss
        except psutil.Error:  # it ended meanwhile
            continue
    return int(total)


def measure(name: str, path: Path) -> None:
    """Run one contestant in this process, and print what it took as JSON."""
    network()  # what is imported does not count
    peak = Peak()
    peak.start()
    started = time.perf_counter()
    share = CONTESTANTS[name](path)
    seconds = time.perf_counter() - started
    extra = peak.stop()
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    work = sum(each.ru_utime + each.ru_stime for each in used)
    print(json.dumps({"seconds": seconds, "work": work, "extra": extra, "share": share}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=20_000, help="side of the image")
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    parser.add_argument("--image", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contestant:
        measure(options.contestant, options.image)
        return
    if importlib.util.find_spec("monai") is None:
        sys.exit("monai is not installed. `make bench ONLY=sliding` installs it")
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "image.tif"
        write_image(image, options.size)
        print(
            f"One image of {options.size} x {options.size} ({image.stat().st_size / 1e6:.0f} MB),"
            f" windows of {TILE} that overlap by {OVERLAP}, load {os.getloadavg()[0]:.1f}\n"
        )
        print("| method | peak memory, GB | seconds | core seconds | share of pixels that are on |")
        print("|---|---|---|---|---|")
        for name in CONTESTANTS:
            command = [sys.executable, __file__, "--contestant", name, "--image", str(image)]
            answer = subprocess.run(
                command, capture_output=True, text=True, timeout=3600, check=False
            )
            if answer.returncode:
                lines = answer.stderr.strip().splitlines() or [f"exit code {answer.returncode}"]
                print(f"| {name} | failed: {lines[-1]} | | | |", flush=True)
                continue
            found = json.loads(answer.stdout.splitlines()[-1])
            print(
                f"| {name} | {found['extra'] / 1e9:.2f} | {found['seconds']:.0f} |"
                f" {found['work']:.0f} | {found['share']:.4f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
