"""Thousands of small pictures, beside the loops that everybody writes, as markdown tables.

    make bench ONLY=small, or benchmarks/bench_small.py [--rounds 5] [--quick]

The first tables go from 2000 PNGs of 101 x 101 to a CSV file. The network takes about as long as
decoding, as networks on a GPU do. The plain loop reads with OpenCV, pads, asks about 64 pictures at
a time, and checks nothing. `predict` also opens a sample, hashes, stores and checks. A network on a
GPU leaves all cores to the readers. So one table gives it a single core, and one gives it all.

The next tables read 200 JPEGs of 1400 x 2100 at the four sizes of the clouds' networks. They have 2
processes, and drop the pixels. The last says how much memory the reader takes.

The pictures are cut from photographs that matplotlib ships. Files lie in the page cache. Each round
runs every contestant once. The tables give medians, and ratios are medians of the rounds' ratios.
"""

import argparse
import collections
import contextlib
import functools
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import batched
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
import yaml
from bench_reader import mosaic
from torch.utils.data import DataLoader, Dataset

from kernelkit.competition import CompetitionFolder
from kernelkit.predict import load_models, predict
from kernelkit.reader import PictureReader, Preparation, ReaderPool
from kernelkit.recipe import Recipe

SIDE, PADS, BATCH = 101, (14, 13), 64
SIZES = ((64, 96), (256, 384), (320, 480), (640, 960))
INTERPOLATIONS = {"area": cv2.INTER_AREA, "bilinear": cv2.INTER_LINEAR}
WORKERS = 2
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# A network that takes about as long as a picture takes to decode.
NETWORK = """
from torch import nn

class Small(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU(),
            nn.Conv2d(16, 16, 3, 1, 1), nn.ReLU(), nn.Conv2d(16, 1, 1), nn.Upsample(scale_factor=4),
        )
"""
RECIPE = {
    "name": "small",
    "competition": {
        "slug": "small",
        "images": "test/{image}.png",
        "id_column": "id",
        "rle_column": "rle_mask",
    },
    "tiles": {"whole": True, "pad": list(PADS), "fill": "reflect"},
    "ensembles": [
        {
            "name": "small",
            "input": {"bands": [1, 2, 3], "divide": 255, "mean": MEAN, "std": STD},
            "views": ["identity"],
            "thresholds": 0.5,
        }
    ],
    "batch": BATCH,
}


def cuts(count: int, height: int, width: int) -> Iterator[np.ndarray]:
    """Iterate over parts of photographs, (height, width, 3)."""
    random = np.random.default_rng(0)
    wall = mosaic(3000).transpose(1, 2, 0)
    for _ in range(count):
        row, col = random.integers(3000 - height), random.integers(3000 - width)
        yield np.ascontiguousarray(wall[row : row + height, col : col + width])


def write_competition(folder: Path, count: int) -> torch.nn.Module:
    """Write pictures, a sample submission, a run and its network's code. Return the network."""
    for name in ("competition/test", "models/run/fold_0", "own"):
        (folder / name).mkdir(parents=True)
    ids = [f"{number:05}" for number in range(count)]
    for image_id, pixels in zip(ids, cuts(count, SIDE, SIDE), strict=True):
        cv2.imwrite(str(folder / "competition/test" / f"{image_id}.png"), pixels)
    sample = pd.DataFrame({"id": ids, "rle_mask": "1 1"})
    sample.to_csv(folder / "competition/sample_submission.csv", index=False)
    (folder / "own/small_network.py").write_text(NETWORK)
    (folder / "models/run/cfg.yaml").write_text(
        yaml.safe_dump({"MODEL": {"network": "small_network:Small"}})
    )
    names: dict[str, type] = {}
    exec(NETWORK, names)
    torch.manual_seed(0)
    network = names["Small"]().eval()
    torch.save(network.state_dict(), folder / "models/run/fold_0/e1.pth")
    return network


def plainly_read(files: Sequence[Path]) -> Iterator[tuple[list[str], torch.Tensor]]:
    """Read pictures as most notebooks do: ids and (N, 3, h, w) uint8."""
    for paths in batched(files, BATCH):
        pictures = []
        for path in paths:
            pixels = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
            pictures.append(
                cv2.copyMakeBorder(pixels, *PADS, *PADS, borderType=cv2.BORDER_REFLECT_101)
            )
        yield (
            [path.stem for path in paths],
            torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous(),
        )


def read_by(pool: ReaderPool, files: Sequence[Path]) -> Iterator[tuple[list[str], torch.Tensor]]:
    """Read pictures with our reader."""
    preparation = Preparation(pads=PADS, fill="reflect")
    for batch in PictureReader([(path,) for path in files], preparation, pool, BATCH):
        yield (
            [files[number].stem for number in batch.numbers],
            torch.from_numpy(batch.inputs[0]),
        )


def loop(
    read: Callable[[Sequence[Path]], Iterator[tuple[list[str], torch.Tensor]]],
    folder: Path,
    network: torch.nn.Module,
) -> Path:
    """Predict all pictures, batch by batch, and write a CSV file that nobody checks."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    rows = []
    for ids, pixels in read(sorted((folder / "competition/test").iterdir())):
        with torch.inference_mode():
            logits = network(pixels.float().div(255).sub(mean).div(std))
        masks = (logits.sigmoid() > 0.5)[:, 0, PADS[0] : -PADS[1], PADS[0] : -PADS[1]].numpy()
        rows += [(image_id, encode(mask)) for image_id, mask in zip(ids, masks, strict=True)]
    out = folder / "loop.csv"
    pd.DataFrame(rows, columns=["id", "rle_mask"]).to_csv(out, index=False)
    return out


def encode(mask: np.ndarray) -> str:
    """Encode a mask the usual way."""
    pixels = np.concatenate([[0], mask.T.flatten(), [0]])
    runs = np.where(pixels[1:] != pixels[:-1])[0] + 1
    runs[1::2] -= runs[::2]
    return " ".join(map(str, runs))


def our_run(folder: Path, workers: int) -> Path:
    """Predict all pictures with `predict`, from nothing but loaded models."""
    recipe = Recipe.parse(yaml.safe_dump(RECIPE))
    competition = CompetitionFolder.read(folder / "competition", recipe.competition)
    models = load_models(recipe, folder / "models", device="cpu")
    with tempfile.TemporaryDirectory() as name, contextlib.redirect_stdout(io.StringIO()):
        done = predict(competition, recipe, models, name, workers=workers)
        return done.submission.rename(folder / f"ours{workers}.csv")


def compare(folder: Path, count: int, rounds: int) -> None:
    """Print how many small pictures per second become rows."""
    network = write_competition(folder, count)
    os.environ["KERNELKIT_OWN"] = str(folder / "own")
    with ReaderPool(WORKERS) as pool, ReaderPool(0) as inline:
        several = f"{WORKERS} processes"
        contestants: dict[str, Callable[[], Path]] = {
            "the plain loop": functools.partial(loop, plainly_read, folder, network),
            "the loop, `PictureReader` inline": functools.partial(
                loop, functools.partial(read_by, inline), folder, network
            ),
            f"the loop, `PictureReader` with {several}": functools.partial(
                loop, functools.partial(read_by, pool), folder, network
            ),
            "`predict` inline": functools.partial(our_run, folder, 0),
            f"`predict` with {several}": functools.partial(our_run, folder, WORKERS),
        }
        first, *others = (pd.read_csv(str(run())).fillna("") for run in contestants.values())
        for other in others:
            same = first == other.sort_values("id", ignore_index=True)
            assert same["id"].all(), "other ids"
            assert same["rle_mask"].mean() > 0.9, "other masks"  # a pixel may be rounded otherwise
        for cores in dict.fromkeys((1, torch.get_num_threads())):
            torch.set_num_threads(cores)
            title = (
                f"{count} PNGs of {SIDE} x {SIDE}, to a CSV file, the network on {cores} core(s)"
            )
            print_race(title, contestants, rounds, count)


class Pictures(Dataset):
    """JPEGs as tensors of some sizes, for a `DataLoader`."""

    def __init__(self, paths: Sequence[Path], sizes: Sequence[tuple[int, int]], how: str) -> None:
        self.paths, self.sizes, self.how = paths, sizes, INTERPOLATIONS[how]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> list[torch.Tensor]:
        pixels = cv2.cvtColor(cv2.imread(str(self.paths[number])), cv2.COLOR_BGR2RGB)
        resized = [cv2.resize(pixels, size[::-1], interpolation=self.how) for size in self.sizes]
        return [torch.from_numpy(each.transpose(2, 0, 1).copy()) for each in resized]


def load_together(paths: Sequence[Path], how: str) -> None:
    """Decode each picture once, and resize it to all sizes."""
    loader = DataLoader(Pictures(paths, SIZES, how), batch_size=8, num_workers=WORKERS)
    collections.deque(loader, maxlen=0)


def load_apart(paths: Sequence[Path], how: str) -> None:
    """Use one loader per size, as the clouds' notebooks do."""
    for size in SIZES:
        loader = DataLoader(Pictures(paths, (size,), how), batch_size=8, num_workers=WORKERS)
        collections.deque(loader, maxlen=0)


def read(pool: ReaderPool, paths: Sequence[Path], how: str) -> None:
    preparation = Preparation(sizes=SIZES, resample=how)  # type: ignore[arg-type]
    reader = PictureReader([(path,) for path in paths], preparation, pool, 8)
    collections.deque(reader, maxlen=0)


def compare_sizes(folder: Path, count: int, rounds: int) -> None:
    """Print how many large pictures per second are read at four sizes."""
    paths = []
    for number, pixels in enumerate(cuts(count, 1400, 2100)):
        paths.append(folder / f"{number}.jpg")
        cv2.imwrite(str(paths[-1]), pixels)
    for how in INTERPOLATIONS:
        with ReaderPool(WORKERS) as pool:
            contestants: dict[str, Callable[[], object]] = {
                "`DataLoader`, all sizes at once": functools.partial(load_together, paths, how),
                "`DataLoader`, one per size": functools.partial(load_apart, paths, how),
                "`PictureReader`": functools.partial(read, pool, paths, how),
            }
            read(pool, paths[:16], how)
            title = f"{count} JPEGs of 1400 x 2100 at four sizes, {how}, {WORKERS} processes"
            print_race(title, contestants, rounds, count)


def print_race(
    title: str, contestants: Mapping[str, Callable[[], object]], rounds: int, count: int
) -> None:
    """Run all contestants in turn, and print a table."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            started = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - started)
    base = times[next(iter(times))]
    print(f"\n## {title}\n\n| | pictures/s | times the first |\n|---|---|---|")
    for name, seconds in times.items():
        faster = statistics.median(b / a for a, b in zip(seconds, base, strict=True))
        print(f"| {name} | {count / statistics.median(seconds):.0f} | {faster:.2f} |", flush=True)


MEASURED = """
import os, sys, threading
from pathlib import Path
from devkit.sandbox.footprint import process_tree, tree_bytes
from kernelkit.reader import PictureReader, Preparation, ReaderPool

def main():
    peak = 0
    done = threading.Event()
    def watch():
        nonlocal peak
        while not done.wait(0.1):
            peak = max(peak, tree_bytes(process_tree(os.getpid())))
    watcher = threading.Thread(target=watch)
    watcher.start()
    files = sorted(Path(sys.argv[1]).iterdir()) * int(sys.argv[3])
    with ReaderPool(int(sys.argv[2])) as pool:
        preparation = Preparation(pads=(14, 13), sizes=eval(sys.argv[4]))
        for _ in PictureReader([(path,) for path in files], preparation, pool, 64):
            pass
    done.set()
    watcher.join()
    print(f"{peak / 1e9:.2f}")

if __name__ == "__main__":
    main()
"""


def memory(small: Path, large: Path) -> None:
    """Print the peak memory for few and for many pictures."""
    print("\n## Peak memory, GB of PSS over all processes, batches of 64\n")
    print("| pictures | inline | 2 processes |\n|---|---|---|")
    script = small.parents[1] / "measured.py"
    script.write_text(MEASURED)
    for folder, times, sizes, what in (
        (small, 1, None, "101 x 101"),
        (small, 9, None, "101 x 101"),
        (large, 1, SIZES, "1400 x 2100 at four sizes"),
        (large, 3, SIZES, "1400 x 2100 at four sizes"),
    ):
        peaks = [
            subprocess.run(
                [sys.executable, script, folder, str(workers), str(times), repr(sizes)],
                capture_output=True,
                text=True,
                check=True,
            ).stdout.strip()
            for workers in (0, WORKERS)
        ]
        count = len(list(folder.iterdir())) * times
        print(f"| {count} of {what} | {peaks[0]} | {peaks[1]} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="rounds of all contestants (3)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the pictures")
    parser.add_argument("--part", choices=("small", "large", "memory"), help="one of the tables")
    arguments = parser.parse_args()
    share = 10 if arguments.quick else 1
    cv2.setNumThreads(1)  # its threads do not survive the fork of a `DataLoader`
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "large").mkdir()
        if arguments.part in (None, "small", "memory"):
            compare(folder, 2000 // share, arguments.rounds)
        if arguments.part in (None, "large", "memory"):
            compare_sizes(folder / "large", 200 // share, arguments.rounds)
        if arguments.part in (None, "memory"):
            memory(folder / "competition/test", folder / "large")


if __name__ == "__main__":
    main()
