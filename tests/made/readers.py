"""What the tests of readers share: pools, grids, the expected tiles, and what could leak."""

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import get_args

import numpy as np
import psutil
import pytest

from kernelkit.grid import TileGrid
from kernelkit.reader import ReaderPool, TileReader
from kernelkit.reader.workers import StartMethod
from kernelkit.slide import Slide
from kernelkit.vocabulary import Fill

__all__ = [
    "KINDS",
    "MARKS",
    "SIZE",
    "START_METHODS",
    "assert_delivers",
    "expected",
    "grid_of",
    "held",
    "pool_of",
    "run_python",
    "worker_pids",
]

SIZE = (1100, 1300)
KINDS = ("inline", "thread", "process")
START_METHODS = get_args(StartMethod)
# The marks of a module that starts workers.
MARKS = [
    pytest.mark.timeout(90),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]
# What the standard library keeps for the next process. It ends with this one.
_HELPERS = ("forkserver", "resource_tracker")


def pool_of(kind: str) -> ReaderPool:
    """Return a pool that reads inline, or one of two workers."""
    return ReaderPool(0) if kind == "inline" else ReaderPool(2, kind)  # type: ignore[arg-type]


def grid_of(path: Path, core: int = 192, pad: int = 48, scale: int = 3) -> TileGrid:
    """Return a grid of some dozens of tiles with wide pads over an image."""
    with Slide(path) as slide:
        return TileGrid(slide.height, slide.width, core, pad, scale)


def expected(path: Path, grid: TileGrid, fill: Fill = "zero") -> list[np.ndarray]:
    """Read the tiles the plain way, one window after the other."""
    with Slide(path) as slide:
        return [slide.read(tile.read, grid.scale, fill) for tile in grid]


def assert_delivers(reader: TileReader, wanted: list[np.ndarray]) -> None:
    """The reader's tiles come in the grid's order with these bytes."""
    delivered = 0
    for (tile, pixels), index in zip(reader, reader.indices, strict=True):
        assert tile == reader.grid[index]
        assert pixels.dtype == wanted[index].dtype
        assert np.array_equal(pixels, wanted[index]), tile
        delivered += 1
    assert reader.stats.tiles == delivered == len(reader)


def run_python(*arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own, which finds the package and warns of nothing."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", *arguments],
        env=os.environ | {"PYTHONPATH": "kernel_src"},
        capture_output=True,
        text=True,
        timeout=60,
        check=check,
    )


def held() -> set[str]:
    """Return what this process holds that could leak."""
    me = psutil.Process()
    found = {f"thread {thread.name}" for thread in threading.enumerate()}
    for child in me.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            line = " ".join(child.cmdline())
            if not any(helper in line for helper in _HELPERS):
                found.add(f"process {child.pid}")
            elif "forkserver" in line:
                found |= {f"process {pid.pid}" for pid in child.children(recursive=True)}
    for link in Path("/proc/self/fd").iterdir():
        target = os.path.realpath(link)
        if ".tif" in target or "kernelkit" in target:
            found.add(f"handle {link.name} of {target}")
    found |= {f"segment {path}" for path in Path("/dev/shm").iterdir() if "kernelkit" in path.name}
    return found


def worker_pids() -> list[int]:
    """Return the process numbers of the workers."""
    pairs = (each.split(" ", 1) for each in held())
    return [int(name) for kind, name in pairs if kind == "process"]
