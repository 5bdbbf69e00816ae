"""How fast a store is written and read, and how fast other thresholds make other submissions.

    python benchmarks/bench_store.py [pictures]

The pictures are like those of the clouds competition: 4 classes of 350 x 525 pixels, as smooth
fields near 0 and 1. Submissions have thresholds and minimum areas. The peer is the usual loop over
one .npz file per picture. numpy merges and encodes there, and OpenCV finds components.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from kernelkit.mask import BitMask
from kernelkit.predict.report import ImageReport
from kernelkit.predict.store.store import Store, Stored
from kernelkit.recipe import Recipe
from tests.made.handed import Handed, smooth_bytes

SIZE = (350, 525)
RECIPE = """
name: clouds
competition:
  slug: clouds
  suffixes: [.png]
  classes: [Fish, Flower, Gravel, Sugar]
  rows: "{image}.jpg_{class}"
  size: [350, 525]
tiles: whole
ensembles:
  - name: one
    merge: {views: mean of probabilities, members: tsharpen(0.5) of probabilities}
    thresholds: 0.75
    postprocess: [{remove_small: {min_area: 15000, keep: ">"}}]
store: {what: probabilities, level: LEVEL}
submissions: SUBMISSIONS
"""
FIVE = """
  all: {}
  lower: {thresholds: 0.7}
  small: {postprocess: [{remove_small: {min_area: 10000, keep: ">"}}]}
  fpn: {RUNS thresholds: 0.7, postprocess: [{remove_small: {min_area: 14000, keep: ">"}}]}
  each: {thresholds: [0.7, 0.65, 0.75, 0.6]}
"""
# different fields, which repeat
FIELDS = 24


def main() -> None:
    """Measure all cases, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pictures", type=int, nargs="?", default=3698)
    pictures = parser.parse_args().pictures
    print(f"{os.cpu_count()} cores, {pictures} pictures of 4 x {SIZE[0]} x {SIZE[1]}")
    with tempfile.TemporaryDirectory() as folder:
        small_entries(Path(folder) / "small")
        for members in (1, 10):
            layers = [smooth_bytes((members, 4, *SIZE), seed, detail=40) for seed in range(FIELDS)]
            case = Path(folder) / str(members)
            clouds(case, layers, pictures)
            plain_loop(case / "plain", layers, pictures)


def timed(what: str, do: Callable[[], object]) -> None:
    """Print how long something takes."""
    start, begun = time.perf_counter(), time.process_time()
    do()
    seconds, used = time.perf_counter() - start, time.process_time() - begun
    print(f"{what:64} {seconds:8.1f} s, {used:8.1f} s of a core", flush=True)


def small_entries(folder: Path, count: int = 18_000) -> None:
    """The store of as many masks of 101 x 101 pixels as salt has pictures."""
    store = Store(folder)
    mask = BitMask.from_array(smooth_bytes((1, 1, 101, 101), 0)[0, 0], 127)
    report = ImageReport("a", height=101, width=101)

    def write() -> None:
        for number in range(count):
            store.entry(str(number), "content").save(Stored(report, [mask]))
        store.close()

    def read() -> None:
        for number in range(count):
            assert store.has_any(str(number))
            assert store.entry(str(number), "content").load() is not None

    timed(f"{count} masks of 101 x 101: written", write)
    timed(f"{count} masks of 101 x 101: found and read", read)
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{'':64} {size / 1e6:8.1f} MB")


def clouds(folder: Path, layers: list[NDArray[np.uint8]], pictures: int) -> None:
    """Store layers, and make submissions of them."""
    members = len(layers[0])
    names = [""] if members == 1 else [f"fpn_{n}/fold_0" for n in range(members)]
    level = "ensemble" if members == 1 else "member"
    runs = "" if members == 1 else 'runs: ["fpn_[0-4]"],'
    one = RECIPE.replace("LEVEL", level)
    handed = Handed(
        folder,
        Recipe.parse(one.replace("SUBMISSIONS", "{all: {}}")),
        {f"{n:04}": SIZE for n in range(pictures)},
    )
    several = Recipe.parse(one.replace("SUBMISSIONS", FIVE.replace("RUNS", runs)))

    def write() -> None:
        for number, name in enumerate(handed.sizes):
            handed.put(name, names, layers[number % FIELDS])
        handed.store.close()

    timed(f"{members} layer(s) per picture: stored", write)
    size = sum(path.stat().st_size for path in handed.store.folder.iterdir())
    raw = pictures * layers[0].nbytes
    print(f"{'':64} {size / 1e6:8.1f} MB of {raw / 1e6:.1f} MB")
    timed(f"{members} layer(s) per picture: one submission", handed.hand_in)
    handed.recipe = several
    timed(f"{members} layer(s) per picture: five submissions", handed.hand_in)


def plain_loop(folder: Path, layers: list[NDArray[np.uint8]], pictures: int) -> None:
    """One submission as it is usually written, from .npz files. A tenth of it is timed."""
    folder.mkdir(parents=True)
    for number, planes in enumerate(layers):
        np.savez_compressed(folder / f"{number}.npz", planes)

    def loop() -> None:
        texts = []
        for number in range(pictures // 10):
            planes = np.load(folder / f"{number % FIELDS}.npz")["arr_0"]
            merged = np.mean((planes.astype(np.float32) / 255) ** 0.5, axis=0)
            for plane in merged:
                mask = (plane > 0.75).astype(np.uint8)
                count, labels = cv2.connectedComponents(mask)
                kept = np.zeros_like(mask)
                for label in range(1, count):
                    component = labels == label
                    if component.sum() > 15000:
                        kept[component] = 1
                texts.append(usual_rle(kept))

    start, begun = time.perf_counter(), time.process_time()
    loop()
    seconds = 10 * (time.perf_counter() - start)
    used = 10 * (time.process_time() - begun)
    what = f"{len(layers[0])} layer(s) per picture: one submission, numpy and OpenCV"
    print(f"{what:64} {seconds:8.1f} s, {used:8.1f} s of a core", flush=True)


def usual_rle(mask: NDArray[np.uint8]) -> str:
    """The encoding as competition notebooks have it."""
    pixels = np.concatenate([[0], mask.T.flatten(), [0]])
    runs = np.where(pixels[1:] != pixels[:-1])[0] + 1
    runs[1::2] -= runs[::2]
    return " ".join(str(x) for x in runs)


if __name__ == "__main__":
    main()
