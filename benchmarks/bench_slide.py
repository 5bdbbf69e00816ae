"""From a slide file to its run-length encoding with a model that does nothing, as markdown.

    make bench ONLY=slide, or benchmarks/bench_slide.py [--quick] [--workers 2]

It measures reading, normalising, stitching and encoding. A real model's time comes on top. Each row
runs in a process of its own, and its workers start before the clock. Ten times per second the
parent adds up the PSS of that process and its children. It includes what this script imports.

"Reader alone" reads the same tiles and drops them. "x reader" is the row's time as a multiple of
that. The slides are made once and kept in build/bench. One is a wall of real H&E pixels,
compressed. The other has the size of HuBMAP's largest image and is sparse on disk.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import torch
from rasterio.windows import Window as FileWindow

from devkit.demo.large import LargeSlide, bands_of_rows, write_slide
from devkit.demo.sources import read_he_texture
from devkit.sandbox.footprint import process_tree, tree_bytes
from kernelkit.canvas import Canvas
from kernelkit.ensemble.normalise import normalise
from kernelkit.grid import TileGrid
from kernelkit.reader import ReaderPool, TileReader
from kernelkit.recipe import NetworkInput
from kernelkit.slide import Slide

ROOT = Path(__file__).resolve().parents[1]
DOWNLOADS, FOLDER = ROOT / "build/demo/downloads", ROOT / "build/bench"


@dataclass(frozen=True)
class Scenario:
    """One row of the table. A `blend` of None is the reader alone."""

    name: str
    slide: str
    core: int
    pad: int
    scale: int
    blend: str | None = None
    upsample: str = "tile"

    @property
    def tiles(self) -> tuple[str, int, int, int]:
        return self.slide, self.core, self.pad, self.scale


def scenarios(quick: bool) -> list[Scenario]:
    wall = "quick" if quick else "wall"
    return [
        Scenario("reader alone, scale 3", wall, 1536, 384, 3),
        Scenario("crop, scale 3", wall, 1536, 384, 3, "crop"),
        Scenario(
            "hann, scale 3, blended at the network's scale", wall, 1536, 384, 3, "hann", "band"
        ),
        Scenario("reader alone, full resolution, 50 % overlap", wall, 512, 256, 1),
        Scenario("hann, full resolution, 50 % overlap", wall, 512, 256, 1, "hann"),
        Scenario("reader alone, sparse slide, scale 3", "sparse", 1536, 384, 3),
        Scenario("crop, sparse slide, scale 3", "sparse", 1536, 384, 3, "crop"),
    ]


def slide_file(name: str) -> Path:
    """Return the slide of this name. It is made if it is not there yet."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}.tiff"
    if not path.exists():
        unfinished = path.with_suffix(".part.tiff")
        if name == "sparse":
            write_sparse(unfinished, 39_960, 50_680)
        else:
            height, width = (6011, 6203) if name == "quick" else (20_011, 20_203)
            plan = LargeSlide(name, height, width, "lzw", bigtiff=True)
            write_slide(read_he_texture(DOWNLOADS), plan, unfinished)
        unfinished.rename(path)
    return path


def write_sparse(path: Path, height: int, width: int) -> None:
    """Write a slide with tissue in one corner and in its middle, 6144 x 6144 pixels each."""
    piece = LargeSlide("piece", 6144, 6144, "lzw")
    pixels = np.concatenate(list(bands_of_rows(read_he_texture(DOWNLOADS), piece)))
    options = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "lzw"}
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=3, dtype="uint8",
        bigtiff="yes", sparse_ok=True, photometric="rgb", interleave="pixel", **options,
    ) as file:  # fmt: skip
        for row, col in ((0, 0), (16_384, 20_480)):
            window = FileWindow(col, row, 6144, 6144)
            file.write(np.ascontiguousarray(pixels.transpose(2, 0, 1)), window=window)


def run(scenario: Scenario, workers: int) -> dict[str, float]:
    """Run one row in this process. Return the seconds of all and of its parts."""
    path = slide_file(scenario.slide)
    torch.set_num_threads(1)  # the reader's workers have the other cores
    warm_up(scenario)
    with Slide(path) as slide, ReaderPool(workers) as pool:
        size = slide.height, slide.width
        grid = TileGrid(*size, core=scenario.core, pad=scenario.pad, scale=scenario.scale)
        # workers import what this script imports, and that takes longer than the slide
        deque(TileReader(slide, grid, pool, indices=[0, len(grid) - 1]), maxlen=0)
        before = core_seconds()
        start = time.perf_counter()
        found: dict[str, float] = {"pixels": slide.height * slide.width}
        reader = TileReader(slide, grid, pool)
        if scenario.blend is None:
            deque(reader, maxlen=0)
        else:
            canvas = Canvas(grid, blend=scenario.blend, upsample=scenario.upsample)
            found |= stitch(reader, canvas)
            began = time.perf_counter()
            found["characters"] = len(canvas.finish()[0].to_rle())
            found["rle"] = time.perf_counter() - began
        found["seconds"] = time.perf_counter() - start
        found["work"] = core_seconds() - before
    return found


def core_seconds() -> float:
    """Return the core seconds that this process and all below it have used."""
    return sum(sum(process.cpu_times()[:2]) for process in process_tree(os.getpid()))


def stitch(reader: TileReader, canvas: Canvas) -> dict[str, float]:
    """Normalise, ask the model that does nothing, and stitch. Return the seconds of each."""
    network_input = NetworkInput(mean=(0.6226, 0.4284, 0.6705), std=(0.1246, 0.1719, 0.0956))
    model = torch.nn.Identity()
    seconds = {"network": 0.0, "canvas": 0.0}
    # One tile at a time: arrays of larger batches leave the caches, and are mapped again each time.
    for tile, pixels in reader:
        asked = time.perf_counter()
        with torch.inference_mode():
            answer = model(normalise(torch.from_numpy(pixels)[None], network_input))
            probabilities = answer[0, :1].sigmoid().numpy()
        answered = time.perf_counter()
        canvas.add(tile, probabilities)
        seconds["network"] += answered - asked
        seconds["canvas"] += time.perf_counter() - answered
    return seconds


def warm_up(scenario: Scenario) -> None:
    """Compile what the canvas needs."""
    if scenario.blend is not None:
        grid = TileGrid(200, 200, core=96, pad=24, scale=scenario.scale)
        canvas = Canvas(grid, blend=scenario.blend, upsample=scenario.upsample)
        for tile in grid:
            canvas.add(tile, np.full((1, grid.net_size, grid.net_size), 0.7, np.float32))
        canvas.finish()[0].to_rle()


def watched(command: list[str]) -> dict[str, float]:
    """Return what a command answers, and the peak PSS of it and its children in bytes."""
    peak = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            peak = max(peak, tree_bytes(process_tree(process.pid)))
            time.sleep(0.1)
        output = process.stdout.read() if process.stdout else ""
        if process.returncode:
            raise SystemExit(f"{' '.join(command)}: ended with exit code {process.returncode}")
    found = json.loads(output.splitlines()[-1])
    return found | {"peak": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a slide of 6011 x 6203, once each")
    parser.add_argument("--workers", type=int, default=2, help="reader processes")
    parser.add_argument("--repeats", type=int, default=2, help="the best of so many counts")
    parser.add_argument("--scenario", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    rows = scenarios(options.quick)
    if options.scenario is not None:
        print(json.dumps(run(rows[options.scenario], options.workers)))
        return
    for name in dict.fromkeys(row.slide for row in rows):
        slide_file(name)
    print(f"File to RLE with an identity model, {options.workers} reader processes\n")
    print(
        "| what | seconds | x reader | core seconds | x reader | Mpx/s "
        "| network s | canvas s | RLE s | peak PSS, MB |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    alone: dict[tuple[str, int, int, int], dict[str, float]] = {}
    for number, row in enumerate(rows):
        command = [sys.executable, __file__, "--scenario", str(number)]
        command += ["--workers", str(options.workers)] + ["--quick"] * options.quick
        runs = [watched(command) for _ in range(1 if options.quick else options.repeats)]
        found = min(runs, key=lambda one: one["seconds"])
        peak = max(one["peak"] for one in runs)
        reader = alone.setdefault(row.tiles, found)
        parts = " | ".join(
            f"{found[part]:.2f}" if part in found else "" for part in ("network", "canvas", "rle")
        )
        print(
            f"| {row.name} | {found['seconds']:.1f} | {found['seconds'] / reader['seconds']:.2f} | "
            f"{found['work']:.1f} | {found['work'] / reader['work']:.2f} | "
            f"{found['pixels'] / found['seconds'] / 1e6:.0f} | {parts} | {peak / 1e6:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
