"""How fast tiles come from a file, beside the field's readers, as markdown tables.

    make bench ONLY=reader, or benchmarks/bench_reader.py [--size 12000]

The image has real pixels: photographs that matplotlib ships, enlarged twice because slides are
oversampled. It is written in seven layouts. All windows of 2304 with 384 of pad are delivered in
order. Files lie in the page cache.

Each round runs every contestant once. The tables give medians. Ratios are medians of the rounds'
ratios, so a machine that becomes slower does so for all. Peers run in processes of their own, where
they may crash. Their pixels are compared with ours. All workers start before the clock.

`limit` is the time in which as many processes decode every block once.
"""

import argparse
import collections
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import rasterio
from matplotlib import cbook
from reader_peers import PEERS

from devkit.demo.layouts import write
from kernelkit.grid import TileGrid, Window
from kernelkit.reader import ReaderPool, TileReader
from kernelkit.slide import Slide
from kernelkit.slide.block_cache import set_block_cache

LAYOUTS = ("tiled", "deflate", "jpeg", "none", "strips", "strips1", "subdatasets")
CORE, PAD = 1536, 384
# The tile whose pixels are compared. Of nine it is the centre.
CHECKED = 4


def mosaic(size: int) -> np.ndarray:
    """Return (3, size, size) of photographs, enlarged, turned and cut."""
    random = np.random.default_rng(0)
    photographs = []
    for name in ("grace_hopper.jpg", "Minduka_Present_Blue_Pack.png"):
        with cbook.get_sample_data(name, asfileobj=True) as file:
            image = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_COLOR)
        photographs.append(cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC))
    out = np.empty((size, size, 3), np.uint8)
    side = 512
    for row in range(0, size, side):
        for col in range(0, size, side):
            photograph = photographs[0 if random.random() < 0.9 else 1]
            top, left = (
                random.integers(n - side + 1) if n > side else 0 for n in photograph.shape[:2]
            )
            part = np.resize(photograph[top : top + side, left : left + side], (side, side, 3))
            part = np.rot90(part, random.integers(4))
            out[row : row + side, col : col + side] = part[: size - row, : size - col]
    return np.ascontiguousarray(out.transpose(2, 0, 1))


def consume(tiles: Iterator[tuple[object, np.ndarray]], wanted: np.ndarray | None) -> float:
    """Take all tiles and return the seconds. Fail if the checked tile has other pixels."""
    started = time.perf_counter()
    for place, (_, pixels) in enumerate(tiles):
        if place == CHECKED and wanted is not None:
            assert np.array_equal(pixels, wanted), "other pixels"
        seconds = time.perf_counter() - started  # without the time to end workers
    return seconds


def run_peer(
    name: str, path: Path, grid: TileGrid, workers: int, wanted: np.ndarray | None
) -> float:
    return consume(PEERS[name](path, grid, workers), wanted)


def withdraw() -> None:
    """Send the peers' log files to a temporary folder, and their error output nowhere."""
    os.chdir(tempfile.gettempdir())
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


class PeerProcess:
    """A process in which a peer is timed, and may crash without harm."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.pool = ProcessPoolExecutor(1, get_context("spawn"), withdraw)
        self.verdict = ""

    def time(self, path: Path, grid: TileGrid, workers: int, wanted: np.ndarray | None) -> float:
        """Return the seconds of one run. After a failure they are infinite, with a verdict."""
        if not self.verdict:
            try:
                return self.pool.submit(run_peer, self.name, path, grid, workers, wanted).result(
                    120
                )
            except BrokenProcessPool:
                self.verdict = "crashes"
            except Exception as error:
                self.verdict = f"fails: {type(error).__name__} {error}"[:40]
        return float("inf")


class Limit:
    """Processes that decode each block of a file once, into memory used again."""

    def __init__(self, path: Path, workers: int) -> None:
        with Slide(path) as slide:
            rows = max(slide.block[0], 256 // slide.block[0] * slide.block[0])
            self.bands = [
                Window(row, 0, min(rows, slide.height - row), slide.width)
                for row in range(0, slide.height, rows)
            ]
        self.pool = ProcessPoolExecutor(workers, get_context("spawn"), open_for_limit, (path, rows))

    def time(self) -> float:
        started = time.perf_counter()
        collections.deque(self.pool.map(decode_for_limit, self.bands), maxlen=0)
        return time.perf_counter() - started


def open_for_limit(path: Path, rows: int) -> None:
    global limit_slide, limit_memory
    set_block_cache(16 << 20)  # else the second round finds blocks of the first
    limit_slide = Slide(path)
    limit_memory = np.empty((limit_slide.bands, rows, limit_slide.width), limit_slide.dtype)


def decode_for_limit(band: Window) -> None:
    limit_slide.read(band, out=limit_memory[:, : band.height])


def speed(paths: dict[str, Path], grid: TileGrid, rounds: int, workers: int) -> dict[str, float]:
    """Print the tables of speeds. Return the plain loop's seconds per tile for each layout."""
    megapixels = sum(tile.read.area for tile in grid) / 1e6
    names = ["limit", "ours, inline", "ours, threads", "ours, processes", *PEERS]
    print(f"\n## Mpx/s delivered, {workers} workers (times the plain loop)\n")
    print("| layout | " + " | ".join(names) + " |\n|" + "---|" * (len(names) + 1))
    times: dict[str, dict[str, list[float]]] = {}
    verdicts: dict[str, dict[str, str]] = {}
    with ReaderPool(workers, "thread") as threads, ReaderPool(workers, "process") as processes:
        for layout, path in paths.items():
            ours = {"inline": 0, "threads": threads, "processes": processes}
            times[layout], verdicts[layout] = race(path, grid, rounds, workers, ours)
            cells = []
            for name in names:
                middle = statistics.median(times[layout][name])
                faster = ratio(times[layout], name, "plain loop")
                verdict = verdicts[layout].get(name)
                cells.append(verdict or f"{megapixels / middle:.0f} ({faster:.2f})")
            print(f"| {layout} | " + " | ".join(cells) + " |", flush=True)
    print("\n## How many times as fast ours with processes are\n")
    print("| layout | " + " | ".join(PEERS) + " |\n|" + "---|" * (len(PEERS) + 1))
    for layout, seconds in times.items():
        cells = [
            verdicts[layout].get(name) or f"{ratio(seconds, 'ours, processes', name):.2f}"
            for name in PEERS
        ]
        print(f"| {layout} | " + " | ".join(cells) + " |")
    return {name: statistics.median(t["plain loop"]) / len(grid) for name, t in times.items()}


def ratio(times: dict[str, list[float]], name: str, other: str) -> float:
    """Return how many times as fast one contestant is as another, the median of the rounds."""
    return statistics.median(b / a for a, b in zip(times[name], times[other], strict=True))


def race(
    path: Path, grid: TileGrid, rounds: int, workers: int, pools: dict[str, int | ReaderPool]
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Run all contestants on one file. Return their seconds, and the verdicts on failures."""
    with Slide(path) as slide:
        wanted = slide.read(grid[CHECKED].read)
    limit = Limit(path, workers)
    peers = {name: PeerProcess(name) for name in PEERS}
    contestants: dict[str, Callable[[np.ndarray | None], float]] = {"limit": lambda _: limit.time()}
    for name, pool in pools.items():
        contestants[f"ours, {name}"] = lambda check, pool=pool: consume(
            iter(TileReader(path, grid, pool)), check
        )
    for name, peer in peers.items():
        contestants[name] = lambda check, peer=peer: peer.time(
            path, grid, workers, None if path.stem == "jpeg" else check
        )
    for run in contestants.values():  # warm up, and compare pixels
        run(wanted)
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            times[name].append(run(None))
    for pool in (limit.pool, *(peer.pool for peer in peers.values())):
        pool.shutdown()
    return times, {name: peer.verdict for name, peer in peers.items() if peer.verdict}


def waiting(paths: dict[str, Path], grid: TileGrid, workers: int, tile: dict[str, float]) -> None:
    """Print how long a caller waits that takes twice as long per tile as decoding it does.

    There are two images. The second is begun while the caller has the first one's last tiles, as
    `predict` does it. So only the first image waits for its first tile.
    """
    print("\n## A caller that takes twice the plain loop's time per tile, on two images\n")
    print("| layout | it waits, threads | it waits, processes |\n|---|---|---|")
    for layout, path in paths.items():
        shares = []
        for kind in ("thread", "process"):
            with ReaderPool(workers, kind) as pool:  # type: ignore[arg-type]
                collections.deque(TileReader(path, grid, pool), maxlen=0)
                first, second = (TileReader(path, grid, pool) for _ in range(2))
                first.then(second)
                for reader in (first, second):
                    for _ in reader:
                        time.sleep(2 * tile[layout])
            waited = first.stats.waited + second.stats.waited
            of_first = first.stats.waited_for_first / first.stats.seconds
            shares.append(
                f"{waited / (first.stats.seconds + second.stats.seconds):.1%} "
                f"({first.stats.waited_share:.1%}, of it {of_first:.1%} for the first tile, "
                f"then {second.stats.waited_share:.1%})"
            )
        print(f"| {layout} | {shares[0]} | {shares[1]} |", flush=True)


MEASURED = """
import os, sys, threading
from devkit.sandbox.footprint import process_tree, tree_bytes
from kernelkit.grid import TileGrid
from kernelkit.reader import ReaderPool, TileReader

def main():
    peak = 0
    done = threading.Event()
    def watch():
        nonlocal peak
        while not done.wait(0.1):
            peak = max(peak, tree_bytes(process_tree(os.getpid())))
    watcher = threading.Thread(target=watch)
    watcher.start()
    with ReaderPool(2, sys.argv[2]) as pool:
        grid = TileGrid(40000, 50000, 1536, 384, int(sys.argv[3]))
        for _ in TileReader(sys.argv[1], grid, pool, indices=range(5 * grid.columns)):
            pass
    done.set()
    watcher.join()
    print(f"{peak / 1e9:.2f}")

if __name__ == "__main__":
    main()
"""


def memory(folder: Path) -> None:
    """Print the peak memory on a slide of 40000 x 50000, the first five rows of tiles."""
    print("\n## Peak memory, GB of PSS over all processes, 40000 x 50000, 2 workers\n")
    print("| file | scale | threads | processes |\n|---|---|---|---|")
    script = folder / "measured.py"
    script.write_text(MEASURED)
    for name, options in {
        "tiled 256, LZW": {"tiled": True, "blockxsize": 256, "blockysize": 256},
        "strips of 8, LZW": {"tiled": False, "blockysize": 8},
    }.items():
        path = folder / "sparse.tif"
        with rasterio.open(
            path,
            "w",
            driver="GTiff",
            height=40000,
            width=50000,
            count=3,
            dtype="uint8",
            compress="lzw",
            interleave="pixel",
            sparse_ok=True,
            bigtiff=True,
            **options,
        ):
            pass
        for scale in (1, 3):
            peaks = [
                subprocess.run(
                    [sys.executable, script, path, kind, str(scale)],
                    capture_output=True,
                    text=True,
                    check=True,
                ).stdout.strip()
                for kind in ("thread", "process")
            ]
            print(f"| {name} | {scale} | {peaks[0]} | {peaks[1]} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--size", type=int, default=12000, help="side of the image in pixels (12000)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds of all contestants (3)")
    parser.add_argument("--layouts", nargs="+", default=LAYOUTS, choices=LAYOUTS)
    arguments = parser.parse_args()
    # The plain loops need a cache that holds a row of windows. They get one for the whole image.
    os.environ.setdefault("GDAL_CACHEMAX", "600")
    workers = min(2, len(os.sched_getaffinity(0)))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image = mosaic(arguments.size)
        paths = {
            layout: write(folder / f"{layout}.tif", image, layout) for layout in arguments.layouts
        }
        del image
        grid = TileGrid(arguments.size, arguments.size, CORE, PAD)
        print(f"# Reading {arguments.size}^2 x 3, {len(grid)} windows of {grid.tile_size}")
        tile = speed(paths, grid, arguments.rounds, workers)
        waiting(paths, grid, workers, tile)
        memory(folder)


if __name__ == "__main__":
    main()
