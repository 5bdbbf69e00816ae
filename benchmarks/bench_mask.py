"""Masks: encoding, decoding and removing small components, beside the field's ways, as markdown.

    make bench ONLY=mask, or benchmarks/bench_mask.py [--quick]

Each contestant of an operation runs in turn, several rounds. Times are medians. "x ours" is its
time over ours in the same round, since machines drift, and the median over the rounds. A
contestant's answer is compared with ours before it is timed. Peak memory is measured in a process
of its own: how much the resident set grows beyond the operation's input. The limit beside each
figure is the time in which one core reads the input once. A peer without a parser or formatter of
numbers gets ours, the fastest known. Peers that are not installed are left out and named
(requirements/bench.in): rlemasklib, connected-components-3d, faster-coco-eval, pycocotools.
"""

import argparse
import importlib
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

import cv2
import numpy as np

from kernelkit.mask import BitMask, rle_encode
from kernelkit.mask.coco import parse_counts
from kernelkit.mask.rle import format_piece, join_pieces, parse_runs

# For a contestant's rounds on a mask. The first is always run.
MOST_SECONDS = 8.0


class Case:
    """A mask to work on, as each contestant wants it."""

    def __init__(self, name: str, side: int) -> None:
        self.name = name
        self.side = side
        self.array = {"blobs": blobs, "slide": glomeruli, "noise": specks, "half": half}[name](side)

    @cached_property
    def mask(self) -> BitMask:
        return BitMask.from_array(self.array)

    @cached_property
    def text(self) -> str:
        return self.mask.to_rle()

    @property
    def min_area(self) -> int:
        return {"blobs": 15000, "slide": 70000}.get(self.name, 3)


def ellipses(side: int, count: int, shortest: int, longest: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    array = np.zeros((side, side), np.uint8)
    for _ in range(count):
        center, axes = rng.integers(0, side, 2), rng.integers(shortest, longest, 2)
        cv2.ellipse(array, center.tolist(), axes.tolist(), rng.integers(180), 0, 360, 1, -1)
    return array


def blobs(side: int) -> np.ndarray:
    return ellipses(side, 3000 * side**2 // 20000**2, 30, 160)


def glomeruli(side: int) -> np.ndarray:
    """A mask as of a slide: few objects, large, and ragged as networks draw them."""
    array = ellipses(side, max(1, 120 * side**2 // 20000**2), 100, 250)
    coarse = np.random.default_rng(1).integers(30, 220, (side // 20, side // 20)).astype(np.uint8)
    return array & (cv2.blur(array * 255, (31, 31)) > cv2.resize(coarse, (side, side)))


def specks(side: int) -> np.ndarray:
    return random_pixels(side, 15)


def half(side: int) -> np.ndarray:
    return random_pixels(side, 128)


def random_pixels(side: int, below: int) -> np.ndarray:
    values = np.random.default_rng(0).integers(0, 256, (side, side), np.uint8)
    return (values < below).view(np.uint8)


# ---- contestants: each takes a case, and all of an operation give the same


def peer(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


rlemasklib, cc3d = peer("rlemasklib"), peer("cc3d")
pycocotools, faster_coco = peer("pycocotools.mask"), peer("faster_coco_eval.core.mask")


def text_of(runs: np.ndarray, case: Case) -> str:
    return join_pieces([format_piece(runs, False, 1)], case.array.size, 1)


def encode_rlemasklib(case: Case) -> str:
    runs = rlemasklib.RLEMask.from_array(case.array, is_sparse=case.name not in ("noise", "half"))
    ends = np.cumsum(runs.counts_view, dtype=np.int64)
    return text_of(ends[: len(ends) // 2 * 2], case)


def encode_coco(module: Any) -> Callable[[Case], str]:
    def encode(case: Case) -> str:
        counts = module.encode(np.asfortranarray(case.array))["counts"]
        return text_of(parse_counts(counts, case.array.size), case)

    return encode


def encode_cv2(case: Case) -> str:
    line = cv2.transpose(case.array).ravel()
    inner = np.flatnonzero(line[1:] != line[:-1]) + 1
    return text_of(np.r_[[0] * line[0], inner, [line.size] * line[-1]].astype(np.int64), case)


def encode_numpy(case: Case) -> str:
    pixels = case.array.T.flatten()
    pixels = np.concatenate([[0], pixels, [0]])
    runs = np.where(pixels[1:] != pixels[:-1])[0] + 1
    runs[1::2] -= runs[::2]
    return " ".join(str(x) for x in runs)


def decode_numpy(case: Case) -> np.ndarray:
    words = case.text.split()
    starts, lengths = (np.asarray(x, dtype=int) for x in (words[0::2], words[1::2]))
    starts -= 1
    pixels = np.zeros(case.array.size, dtype=np.uint8)
    for start, stop in zip(starts, starts + lengths, strict=True):
        pixels[start:stop] = 1
    return pixels.reshape(case.array.shape[::-1]).T


def decode_rlemasklib(case: Case) -> np.ndarray:
    ends = np.append(parse_runs(case.text, case.array.size, 1), case.array.size)
    counts = np.diff(ends, prepend=0).astype(np.uint32)
    return rlemasklib.RLEMask.from_counts(counts, case.array.shape).to_array()


def remove_small_cv2(case: Case) -> np.ndarray:
    _, labels, stats, _ = cv2.connectedComponentsWithStats(case.array, connectivity=8)
    keep = stats[:, cv2.CC_STAT_AREA] >= case.min_area
    keep[0] = False
    return keep[labels]


def remove_small_cc3d(case: Case) -> np.ndarray:
    labels = cc3d.connected_components(case.array, connectivity=8)
    keep = cc3d.statistics(labels)["voxel_counts"] >= case.min_area
    keep[0] = False
    return keep[labels]


def remove_small_rlemasklib(case: Case) -> np.ndarray:
    runs = rlemasklib.RLEMask.from_array(case.array, is_sparse=case.name not in ("noise", "half"))
    return runs.remove_small_components(case.min_area, connectivity=8).to_array()


def remove_small_ours(case: Case) -> BitMask:
    return case.mask.remove_small(case.min_area)


ENCODERS = {
    "rlemasklib": encode_rlemasklib if rlemasklib else None,
    "pycocotools": encode_coco(pycocotools) if pycocotools else None,
    "faster-coco-eval": encode_coco(faster_coco) if faster_coco else None,
    "cv2.transpose, flatnonzero": encode_cv2,
    "usual numpy": encode_numpy,
}


@dataclass(frozen=True)
class Operation:
    """Contestants, ours first, and the masks that they run on."""

    contestants: dict[str, Callable[[Case], Any] | None]
    cases: tuple[str, ...]


OPERATIONS = {
    "packed mask -> Kaggle string": Operation(
        {"kernelkit": lambda case: case.mask.to_rle(), **ENCODERS}, ("blobs", "slide", "noise")
    ),
    "uint8 array -> Kaggle string": Operation(
        {"kernelkit": lambda case: rle_encode(case.array), **ENCODERS}, ("blobs", "noise")
    ),
    "Kaggle string -> mask": Operation(
        {
            "kernelkit": lambda case: BitMask.from_rle(case.text, case.mask.shape),
            "rlemasklib": decode_rlemasklib if rlemasklib else None,
            "usual numpy": decode_numpy,
        },
        ("blobs", "slide", "noise"),
    ),
    "remove small components": Operation(
        {
            "kernelkit": remove_small_ours,
            "cv2 with statistics": remove_small_cv2,
            "connected-components-3d": remove_small_cc3d if cc3d else None,
            "rlemasklib": remove_small_rlemasklib if rlemasklib else None,
        },
        ("blobs", "slide", "half"),
    ),
}


def same(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, BitMask) and isinstance(theirs, np.ndarray):
        theirs = BitMask.from_array(theirs)
    return bool(ours == theirs)


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def run_rounds(
    contestants: dict[str, Callable[[Case], Any]], case: Case, rounds: int
) -> dict[str, list[float]]:
    """Seconds of each contestant in each round. The slow ones run fewer rounds.

    The first contestant runs once before. All others must give the same answer.
    """
    first, *_ = contestants
    expected = contestants[first](case)
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, function in contestants.items():
            if times[name] and sum(times[name]) + max(times[name]) > MOST_SECONDS:
                continue
            taken, result = timed(lambda function=function: function(case))
            if not times[name] and not same(expected, result):
                sys.exit(f"{case.name}: {name} gives another answer than {first}")
            times[name].append(taken)
            del result
    return times


def compare(
    title: str, operation: Operation, case: Case, rounds: int, arguments: list[str]
) -> None:
    contestants = {name: f for name, f in operation.contestants.items() if f is not None}
    times = run_rounds(contestants, case, rounds)
    ours = times[next(iter(contestants))]
    words = case.array.ravel().view(np.uint64) if "array ->" in title else case.mask.words
    limit = median(timed(lambda: np.bitwise_or.reduce(words, axis=None))[0] for _ in range(7))
    for name, taken in times.items():
        ratio = median(a / b for a, b in zip(taken, ours, strict=False))
        memory = peak_megabytes(title, name, case.name, arguments)
        print(
            f"| {case.name} | {name} | {median(taken) * 1e3:.1f} | {ratio:.2f} |"
            f" {memory:.0f} | {limit * 1e3:.1f} |",
            flush=True,
        )


def peak_megabytes(title: str, name: str, case: str, arguments: list[str]) -> float:
    command = [sys.executable, __file__, *arguments, "--memory", title, name, case]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    return float(done.stdout)


def measure_memory(title: str, name: str, case: Case) -> float:
    """Megabytes by which an operation's peak exceeds its input. It is compiled before."""
    function = OPERATIONS[title].contestants[name]
    small = Case(case.name, 640)
    function(small)
    if name == "kernelkit" and "array" not in title:
        _ = case.mask, case.text
        del case.array
    elif "string ->" in title:
        _ = case.text
        del case.mask
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again here
    result = function(case)
    peak = resident("VmHWM")
    del result
    return (peak - before) / 1e3


def resident(field: str) -> int:
    """Kilobytes of memory that the process holds (VmRSS) or has held at most (VmHWM)."""
    [kilobytes] = re.findall(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(kilobytes)


def cases_of(operation: Operation, side: int) -> Iterator[Case]:
    for name in operation.cases:
        yield Case(name, side * 2 // 5 if name == "half" else side)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="4000 x 4000 instead of 20000 x 20000")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="", help="operations whose title has this in it")
    parser.add_argument("--memory", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    side = 4000 if options.quick else 20000
    if options.memory:
        title, name, case_name = options.memory
        [case] = [c for c in cases_of(OPERATIONS[title], side) if c.name == case_name]
        print(measure_memory(title, name, case))
        return
    missing = {n for op in OPERATIONS.values() for n, f in op.contestants.items() if f is None}
    print(f"Masks of {side} x {side} pixels. Pure noise (half): {side * 2 // 5} x {side * 2 // 5}.")
    if missing:
        print(f"Left out, since not installed: {', '.join(sorted(missing))}.")
    for title, operation in OPERATIONS.items():
        if options.only not in title:
            continue
        print(f"\n### {title}\n")
        print("| mask | contestant | ms | x ours | extra peak MB | limit: read once, ms |")
        print("|---|---|---:|---:|---:|---:|")
        for case in cases_of(operation, side):
            compare(title, operation, case, options.rounds, ["--quick"] if options.quick else [])


if __name__ == "__main__":
    main()
