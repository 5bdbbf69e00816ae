"""Two devices beside one, each with images of its own or with shared images, as markdown tables.

    make bench ONLY=devices, or benchmarks/bench_devices.py [--rounds 3] [--quick]

Two cores stand for two GPUs. Eight images of equal size are predicted by one process with one core,
by a process per core, and by one process whose copies of the network share the tiles of each image.
Then one image is, which only copies can share. Processes are started before the clock. Models are
loaded within it. The submissions have to be the same, byte for byte. Seconds of the processor are
those of all processes. On a machine that is busy with other things, they say more than the clock.

The third table says what it costs to hand work out. This process does the same work plainly and in
jobs. Seconds of the processor are counted, since a percent is less than what the clock wavers by.

Each round runs every contestant once. The tables give medians, and ratios are medians of the
rounds' ratios.
"""

import argparse
import contextlib
import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import wait
from contextlib import closing
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil
import segmentation_models_pytorch as smp
import tifffile
import torch
import yaml
from bench_reader import mosaic

from kernelkit.competition import CompetitionFolder
from kernelkit.predict import load_models, predict
from kernelkit.predict.deadline import Deadline
from kernelkit.predict.jobs import DeviceProcesses, plan
from kernelkit.predict.jobs.job import do
from kernelkit.predict.jobs.shared import put_token, shared_job
from kernelkit.predict.store.store import Store
from kernelkit.predict.work.survey import survey_images
from kernelkit.predict.work.tasks import Run, tasks_of
from kernelkit.predict.work.work import work
from kernelkit.recipe import Recipe

IMAGES, SIDE = 8, 1536
NETWORK: dict[str, Any] = {
    "arch": "Unet",
    "encoder_name": "resnet18",
    "in_channels": 3,
    "classes": 1,
}
RECIPE = """
name: devices
competition: {slug: devices, images: "test/{image}.tiff"}
tiles: {core: 384, pad: 64, fill: reflect}
ensembles: [{name: one, views: [identity]}]
batch: 4
"""


class Made:
    """Images of one size and a network, in a folder."""

    def __init__(self, folder: Path, images: int, side: int) -> None:
        self.folder = folder
        self.recipe = Recipe.parse(RECIPE)
        (folder / "in/test").mkdir(parents=True)
        wall = mosaic(2 * side).transpose(1, 2, 0)
        for number in range(images):
            at = number * side // images
            path = folder / f"in/test/{number}.tiff"
            tifffile.imwrite(path, wall[at : at + side, at : at + side], tile=(256, 256))
        sample = "id,predicted\n" + "".join(f"{number},\n" for number in range(images))
        (folder / "in/sample_submission.csv").write_text(sample)
        run = folder / "models/run"
        (run / "fold_0").mkdir(parents=True)
        torch.manual_seed(0)
        network = smp.create_model(**NETWORK, encoder_weights=None)
        torch.save(network.state_dict(), run / "fold_0/e1.pth")
        (run / "cfg.yaml").write_text(yaml.safe_dump({"MODEL": NETWORK}))
        self.competition = CompetitionFolder.read(folder / "in", self.recipe.competition)
        self.runs = 0

    def output(self) -> Path:
        """A folder that no run has used."""
        self.runs += 1
        return self.folder / f"out{self.runs}"

    def predict(self, executor: DeviceProcesses | None) -> tuple[float, float, bytes]:
        """The seconds that the images take by the clock and of processors, and the submission."""
        models = load_models(self.recipe, self.folder / "models", "cpu")
        output = self.output()
        if executor is not None:  # its processes end when copies share an image
            wait([executor.submit(import_module, do.__module__) for _ in executor.seats])
        start, used = time.perf_counter(), processor_seconds()
        done = predict(self.competition, self.recipe, models, output, executor=executor)
        return (
            time.perf_counter() - start,
            processor_seconds() - used,
            done.submission.read_bytes(),
        )

    def work(self, by_jobs: bool) -> float:
        """The processor's seconds for all images in this process, plainly or in jobs."""
        models = load_models(self.recipe, self.folder / "models", "cpu")
        tasks = tasks_of(
            self.competition, self.recipe, survey_images(self.competition, self.recipe), None
        )
        store = Store(self.output())
        with closing(Run(self.recipe, models, store, Deadline(9), tasks)) as run:
            if not by_jobs:
                start = time.process_time()
                list(work(tasks, run))
                return time.process_time() - start
            job = shared_job(tasks, run, put_token(store.folder))
            do(job)  # loads the models
            start = time.process_time()
            for task in tasks:
                do(replace(job, tasks=(task,)))
            return time.process_time() - start


def processor_seconds() -> float:
    """What this process and its children have used, also those that have ended."""
    here = psutil.Process()
    times = [each.cpu_times() for each in (here, *here.children(recursive=True))]
    ended = times[0].children_user + times[0].children_system
    return ended + sum(each.user + each.system for each in times)


def rounds(count: int, contestants: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Seconds of each contestant in each round, in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(count):
        for name, run in contestants.items():
            with contextlib.redirect_stdout(io.StringIO()):
                seconds[name].append(run())
    return seconds


def ratio(over: list[float], under: list[float]) -> float:
    """The median of the rounds' ratios."""
    return statistics.median(a / b for a, b in zip(over, under, strict=True))


def compare_devices(made: Made, images: str, count: int) -> None:
    """Print how much faster two devices are, by a process each and by copies in one process."""
    submissions = set()
    used: dict[str, list[float]] = {}

    def by(name: str, executor: DeviceProcesses | None, worth_it: float = 99.0) -> float:
        torch.set_num_threads(2 if worth_it == 0 else 1)
        with patch.object(plan, "_WORTH_IT", worth_it):
            seconds, of_processors, submission = made.predict(executor)
        submissions.add(submission)
        used.setdefault(name, []).append(of_processors)
        return seconds

    one, processes, copies = "one core", "two processes, a core each", "two copies, a core each"
    with DeviceProcesses(["cpu", "cpu"]) as two:
        found = rounds(
            count,
            {
                one: lambda: by(one, None),
                processes: lambda: by(processes, two),
                copies: lambda: by(copies, two, 0.0),
            },
        )
    assert len(submissions) == 1
    print(f"\n## {images} on two devices (load {os.getloadavg()[0]:.1f})\n")
    print("| | seconds | of processors | speed beside one core |\n|---|---|---|---|")
    for name, times in found.items():
        medians = f"{statistics.median(times):.1f} | {statistics.median(used[name]):.1f}"
        print(f"| {name} | {medians} | {ratio(found[one], times):.2f}x |")


def compare_jobs(made: Made, count: int) -> None:
    """Print what jobs cost beside plain work."""
    found = rounds(
        count, {"plain": lambda: made.work(by_jobs=False), "jobs": lambda: made.work(by_jobs=True)}
    )
    cost = ratio(found["jobs"], found["plain"])
    print(f"\n## The same work in one process (load {os.getloadavg()[0]:.1f})\n")
    print("| | processor seconds | beside plain work |\n|---|---|---|")
    print(f"| `predict` without an executor | {statistics.median(found['plain']):.2f} | 1.000x |")
    print(f"| in jobs of one image | {statistics.median(found['jobs']):.2f} | {cost:.3f}x |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="rounds of all contestants (3)")
    parser.add_argument("--quick", action="store_true", help="smaller images")
    arguments = parser.parse_args()
    side = SIDE // 2 if arguments.quick else SIDE
    with tempfile.TemporaryDirectory() as name:
        made = Made(Path(name) / "eight", IMAGES, side)
        compare_devices(made, f"{IMAGES} images", arguments.rounds)
        compare_devices(Made(Path(name) / "one", 1, 2 * side), "One image", arguments.rounds)
        compare_jobs(made, arguments.rounds)


if __name__ == "__main__":
    main()
