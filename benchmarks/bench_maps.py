"""A mask of 30 000 x 30 000 pixels as a Shapefile, beside the whole-array way, as markdown tables.

    make bench ONLY=maps, or benchmarks/bench_maps.py [--rounds 3] [--quick]

The first table writes a Shapefile of a mask of random blobs. Each contestant is a process of its
own, so its peak of memory is its own. The peer unpacks the whole mask, has rasterio make polygons
of it, and geopandas write them. Both files are rasterised again and compared, before any figure is
shown.

The second table has ten such masks vote on packed words, with a zone without data in each. The peer
adds arrays of bytes, as a script does. Memory is what the vote takes beside one scene.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import geopandas
import numpy as np
import rasterio.features
import shapely.geometry
from affine import Affine
from rasterio.crs import CRS
from scipy import ndimage

from kernelkit.grid import Window
from kernelkit.maps import DrawnLabels, polygons, write_polygons
from kernelkit.mask import BitMask
from kernelkit.mask.votes import Ballot

PLACE, UTM = Affine(10, 0, 400_000, 0, -10, 4_000_000), CRS.from_epsg(32638)
SCENES = 10


def blobs(side: int, seed: int = 0) -> BitMask:
    """Blobs of some hundred pixels, the same ones again in each tile of 6000 x 6000."""
    noise = np.random.default_rng(seed).standard_normal((300, 300))
    tile = np.kron(ndimage.gaussian_filter(noise, 2) > 0.12, np.ones((20, 20), np.uint8))
    mask = BitMask.zeros(side, side)
    for row in range(0, side, 6000):
        for col in range(0, side, 6000):
            mask.paste(row, col, tile[: side - row, : side - col])
    return mask


def kernelkits_file(mask: BitMask, path: Path) -> None:
    """From packed bits, band by band."""
    write_polygons(path, polygons(mask, PLACE), UTM)


def whole_array(mask: BitMask, path: Path) -> None:
    """Unpack, polygonise in one call, write by geopandas."""
    pixels = mask.to_array()
    shapes = rasterio.features.shapes(pixels, pixels > 0, transform=PLACE)
    geometry = [shapely.geometry.shape(shape) for shape, _ in shapes]
    frame = geopandas.GeoDataFrame({"id": range(1, len(geometry) + 1)}, geometry=geometry, crs=UTM)
    frame.to_file(path)


def ballot(side: int) -> BitMask:
    """One scene at a time, in binary digits."""
    votes = Ballot(side, side)
    for seed in range(SCENES):
        votes.add(blobs(side, seed), zone(side, seed))
    return votes.result(lambda voters: voters // 2 + 1)


def sums_of_bytes(side: int) -> BitMask:
    """Two counts of a byte per pixel."""
    count, voters = np.zeros((side, side), np.uint8), np.zeros((side, side), np.uint8)
    for seed in range(SCENES):
        held = zone(side, seed).to_array() == 0
        count += blobs(side, seed).to_array() & held
        voters += held
    return BitMask.from_array(count >= np.maximum(1, voters // 2 + 1))


def zone(side: int, seed: int) -> BitMask:
    """A strip of each scene that has no data."""
    mask = BitMask.zeros(side, side)
    mask.paste(0, 100 * seed, np.ones((side, 200), np.uint8))
    return mask


FILES = {"kernelkit": kernelkits_file, "rasterio and geopandas, whole array": whole_array}
VOTES = {"kernelkit": ballot, "numpy, sums of bytes": sums_of_bytes}


def contestant(kind: str, name: str, side: int, folder: Path) -> None:
    """Run one contestant, and print its seconds and its memory beside what it is given."""
    mask = blobs(side)
    before = peak()
    start = time.perf_counter()
    if kind == "files":
        FILES[name](mask, folder / "city.shp")
        result = str(len(DrawnLabels(folder / "city.shp", PLACE, UTM)))
    else:
        result = str(VOTES[name](side).area)
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "MB": peak() - before, "result": result}))


def peak() -> float:
    """The most memory that this process had so far, in MB. `getrusage` counts its parent's too."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6


def run(kind: str, name: str, side: int, folder: Path) -> dict:
    """The figures of one contestant, in a process of its own."""
    command = [sys.executable, __file__, "--contestant", kind, name, "--side", str(side)]
    done = subprocess.run(
        [*command, "--folder", str(folder)], check=True, capture_output=True, text=True
    )
    return dict(json.loads(done.stdout))


def check_same_mask(folder: Path, side: int) -> None:
    """Whether the last file gives the mask back."""
    drawn = DrawnLabels(folder / "city.shp", PLACE, UTM)
    if drawn.mask(Window(0, 0, side, side), all_touched=False) != blobs(side):
        raise SystemExit("the polygons do not give the mask back")


def table(kind: str, names: list[str], side: int, rounds: int) -> None:
    """One row per contestant: medians of the rounds."""
    figures: dict[str, list[dict]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            with tempfile.TemporaryDirectory() as folder:
                figures[name].append(run(kind, name, side, Path(folder)))
                if kind == "files":
                    check_same_mask(Path(folder), side)
    if kind == "votes" and len({one["result"] for many in figures.values() for one in many}) > 1:
        raise SystemExit("the votes differ")
    print(f"\n| {kind}, {side} x {side} | seconds | MB beside the mask | result |")
    print("|---|---|---|---|")
    for name, many in figures.items():
        seconds, grown = (statistics.median(one[key] for one in many) for key in ("seconds", "MB"))
        print(f"| {name} | {seconds:.1f} | {grown:.0f} | {many[0]['result']} |")


def main() -> None:
    """Print both tables, or run one contestant."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="6000 x 6000 pixels, once")
    parser.add_argument("--contestant", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--side", type=int, default=30_000, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, default=Path(), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contestant:
        kind, name = arguments.contestant
        contestant(kind, name, arguments.side, arguments.folder)
        return
    side, rounds = (6000, 1) if arguments.quick else (arguments.side, arguments.rounds)
    table("files", list(FILES), side, rounds)
    table("votes", list(VOTES), side, rounds)


if __name__ == "__main__":
    main()
