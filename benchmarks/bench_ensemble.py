"""How fast MegaModel predicts, and how busy it keeps the GPU: four tables, within 8 minutes.

    make bench ONLY=ensemble, or benchmarks/bench_ensemble.py --quick --json figures.json

There are two ensembles of random weights. One has sixteen U-Nets of about 24 M parameters, with 4
views. The other is a small U-Net. Tiles are HuBMAP's: 2304 px read at scale 3, 1536 px of them
core, in batches of 8. The cores come down as packed bits. The reference is the loop that everybody
writes. It runs each member after the other: in float32 with TF32 off and on, and by autocast. One
table is a whole run of the HuBMAP recipe with the small U-Net. It goes from a compressed file
to a checked submission. In another, two processes of one GPU ask the small U-Net, and two threads
with a copy each. Without a GPU the benchmark says so, and measures small members on the CPU.

`kernels`, `batches` and `sampled` say how busy the GPU is (see `gpu_meter`). `times` compares with
the first line. `plan` is the memory that was planned, and `peak` what tensors took at most. `Dice`
compares masks with the first line's, on parts of a photograph. Networks of random weights answer
around one value, so they are cut at their median. Trained ones are cut where it is easier.
`h / 6.04 Gpx` is the time for HuBMAP's public test set at scale 3 on this device.
"""

import argparse
import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ensemble_loops import SCALE, Batch, Case, EagerLoop, in_bits, write_members, write_slide
from ensemble_together import speeds
from gpu_meter import Busy, Sampler, kernels_share, span_of_batches

from kernelkit.competition import CompetitionFolder
from kernelkit.ensemble import MegaModel
from kernelkit.ensemble.device import device_name
from kernelkit.mask import BitMask
from kernelkit.predict import load_models, predict
from kernelkit.recipe import EnsembleRecipe, Execution, Recipe
from kernelkit.vocabulary import Precision

HUBMAP_MPX = 6040
# Seconds that are kept free for the run from a file, and that torch.compile may take.
FOR_THE_FILE, TO_COMPILE = 90, 60
# Seconds for those that share a device: most of it is for processes to start.
TO_SHARE = 75

SIXTEEN = Case("sixteen members of 24 M parameters", "resnet34", 16, "hubmap", 1536, 384, 8)
SMALL = Case("one small member", "resnet18", 1, "identity", 1536, 384, 8)
ON_CPU = Case("two small members", "resnet18", 2, "identity", 576, 96, 4)
QUICK_ON_CPU = Case("two small members", "resnet18", 2, "identity", 192, 48, 2)
# The side of the slide in pixels: on a GPU, and on a CPU.
SLIDE, SLIDE_ON_CPU = 12 * 2304, 1152


@dataclass(frozen=True)
class Row:
    name: str
    mpx_per_s: float
    busy: Busy
    plan_gb: float | None = None
    peak_gb: float | None = None
    warm_up_s: float = 0.0
    agreement: float | None = None


@dataclass(frozen=True)
class Options:
    """How long each line is measured, and when the last one may begin."""

    gpu: bool
    seconds: float
    deadline: float
    quick: bool

    def has(self, seconds: float) -> bool:
        """Whether so many seconds are left."""
        return time.perf_counter() + seconds < self.deadline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5, help="to measure each line for")
    parser.add_argument("--minutes", type=float, default=8, help="for all of it")
    parser.add_argument("--quick", action="store_true", help="fewer lines, and each for a second")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    given = parser.parse_args()
    rehearsed = os.environ.get("KERNELKIT_GPU_CHECK_DEVICE", "")
    gpu = torch.cuda.is_available() and not rehearsed
    end = time.perf_counter() + 60 * given.minutes - 15
    options = Options(gpu, 1 if given.quick else given.seconds, end, given.quick)
    if not gpu:
        print("No GPU is used. The figures are the CPU's, with small members.")
    name = device_name(torch.device("cuda" if gpu else "cpu"))
    print(f"device: {name}, torch {torch.__version__}")
    figures: dict[str, Any] = {"device": name, "torch": torch.__version__, "tables": {}}
    large = SIXTEEN if gpu else QUICK_ON_CPU if given.quick else ON_CPU
    small = SMALL if gpu else large
    with tempfile.TemporaryDirectory() as folder:
        models = {case: Path(folder) / case.encoder for case in (large, small)}
        for case, path in models.items():
            write_members(path, case)
        tables = figures["tables"]
        tables[large.title] = table(models[large], large, options, FOR_THE_FILE + TO_SHARE)
        save(figures, given.json)
        tables["from a file"] = from_file(Path(folder), models[small], small, options)
        save(figures, given.json)
        tables["together"] = together(models[small], small, options)
        save(figures, given.json)
        if small != large:  # what matters most came first
            tables[small.title] = table(models[small], small, options, 0)
            save(figures, given.json)


def table(models: Path, case: Case, options: Options, reserve: float) -> list[dict]:
    rows = list(measure(models, case, options, reserve))
    print_table(case, rows)
    return [asdict(row) for row in rows]


def from_file(folder: Path, models: Path, case: Case, options: Options) -> list[dict]:
    row = measure_from_file(folder, models, case, options)
    print_run(row)
    return [asdict(row)]


def together(models: Path, case: Case, options: Options) -> list[dict]:
    """Measure several that share the device, beside one alone."""
    if not options.has(TO_SHARE * options.gpu):
        print("\nseveral that share a device: left out, since the time is over")
        return []
    device, precision = ("cuda:0", "fp16") if options.gpu else ("cpu", "fp32")
    forget()
    rows = []
    print(f"\nseveral that share a device: {case.title}, {case.batch} tiles")
    print(f"{'':24} {'source Mpx/s':>12} {'times':>6}")
    for name, mpx_per_s in speeds(models, case, device, precision, options.seconds):
        rows.append({"name": name, "mpx_per_s": mpx_per_s})
        print(f"{name:24} {mpx_per_s:12.2f} {mpx_per_s / rows[0]['mpx_per_s']:6.2f}", flush=True)
    return rows


def save(figures: dict, path: Path | None) -> None:
    if path is not None:
        path.write_text(json.dumps(figures, indent=1) + "\n")


def measure(folder: Path, case: Case, options: Options, reserve: float) -> Iterator[Row]:
    """Measure the reference, then MegaModel's options, which are compared with it."""
    batch = Batch.make(case)
    rows, threshold, expected = measure_reference(folder, case, batch, options)
    yield from rows
    forget()
    recipe = EnsembleRecipe(name="bench", views=case.views, thresholds=(threshold,))
    for name, precision, execution in lines_of(options):
        if not options.has(reserve + (TO_COMPILE if execution.compile else 20) * options.gpu):
            print(f"  {name}: left out, since the time is over")
            continue
        model = MegaModel(
            folder,
            recipe=recipe,
            precision=precision,
            batch=case.batch,
            execution=execution,
            device="cuda:0" if options.gpu else "cpu",
        )
        agreement = dice(model.preprocess_and_infer(batch.pixels), expected)
        row = timed(name, case, in_bits(model), batch, options)
        for note in model.notes:
            print(f"  {name}: {note}")
        plan = model.memory.total / 1e9 if model.memory else None
        yield replace(row, warm_up_s=model.warm_up_seconds, agreement=agreement, plan_gb=plan)
        del model
        forget()


def measure_reference(
    folder: Path, case: Case, batch: Batch, options: Options
) -> tuple[list[Row], float, np.ndarray]:
    """The eager loops' speed, the threshold that cuts their answers, and the masks."""
    recipe = EnsembleRecipe(name="bench", views=case.views)
    loop = EagerLoop(folder, recipe, "cuda" if options.gpu else "cpu")
    allow_tf32(False)
    probabilities = loop(batch.pixels)
    # Networks of random weights answer around one value. A cut there is the hardest.
    threshold = float(probabilities.median())
    expected = probabilities.cpu().numpy() > threshold
    half = torch.float16 if options.gpu else torch.bfloat16
    ways: list[tuple[str, bool, torch.dtype | None]] = [("eager fp32 loop", False, None)]
    ways += [("eager fp32 loop, TF32", True, None)] * options.gpu
    ways += [(f"eager autocast {'fp16' if options.gpu else 'bf16'} loop", options.gpu, half)]
    rows = []
    for name, tf32, loop.half in ways:
        allow_tf32(tf32)
        agreement = dice((loop(batch.pixels) > threshold).cpu().numpy(), expected)
        row = timed(name, case, lambda b: loop(b.pixels).cpu(), batch, options)
        rows.append(replace(row, agreement=agreement))
    return rows, threshold, expected


def allow_tf32(allowed: bool) -> None:
    torch.backends.cudnn.allow_tf32 = allowed
    torch.backends.cuda.matmul.allow_tf32 = allowed


def lines_of(options: Options) -> list[tuple[str, Precision, Execution]]:
    """The precisions and options worth a line, the default first."""
    if not options.gpu:
        lines: list[tuple[str, Precision, Execution]] = [
            ("bf16", "bf16", Execution()),
            ("bf16, norms kept", "bf16", Execution(fuse_norms=False)),
            ("bf16, contiguous", "bf16", Execution(channels_last=False)),
            ("fp32", "fp32", Execution()),
        ]
        return [lines[0], lines[-1]] if options.quick else lines
    lines = [
        ("fp16", "fp16", Execution()),
        ("fp16, CUDA graph", "fp16", Execution(cuda_graph=True)),
        ("fp32, TF32", "fp32", Execution()),
        ("fp16, compiled", "fp16", Execution(compile=True)),
        ("fp16, compiled, graph", "fp16", Execution(compile=True, cuda_graph=True)),
    ]
    others: list[tuple[str, Precision, Execution]] = [
        ("bf16", "bf16", Execution()),
        ("fp16, norms kept", "fp16", Execution(fuse_norms=False)),
        ("fp16, contiguous", "fp16", Execution(channels_last=False)),
    ]
    return lines if options.quick else [*lines, *others]


def timed(
    name: str, case: Case, step: Callable[[Batch], object], batch: Batch, options: Options
) -> Row:
    """Speed over at least two batches, after one that does not count.

    For a GPU it is the mean, since it works on while the next batch is asked for. For a CPU it is
    that of the fastest batch, since others use the CPU too.
    """
    print(f"  {name} ...", file=sys.stderr, flush=True)
    if not options.gpu:
        step(batch)
        times = [time.perf_counter()]
        while len(times) < 4 or times[-1] - times[0] < options.seconds:
            step(batch)
            times.append(time.perf_counter())
        fastest = min(after - before for before, after in pairwise(times))
        return Row(name, case.source_mpx / fastest, Busy())
    step(batch)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    sampler = Sampler()
    with sampler.running():
        took, inside, count = span_of_batches(lambda: step(batch), options.seconds)
    peak = torch.cuda.max_memory_allocated() / 1e9
    profiled = max(1, min(4, round(2 * count / took)))
    kernels = kernels_share(lambda: [step(batch) for _ in range(profiled)])
    busy = Busy(kernels, inside / took, sampler.mean)
    return Row(name, case.source_mpx * count / took, busy, peak_gb=peak)


def measure_from_file(folder: Path, members: Path, case: Case, options: Options) -> Row:
    """A whole run of the HuBMAP recipe with the members of a case, from a compressed file."""
    side = SLIDE if options.gpu else SLIDE_ON_CPU
    competition = folder / "competition"
    (competition / "test").mkdir(parents=True)
    (competition / "sample_submission.csv").write_text("id,predicted\nslide,\n")
    print("  writing the slide ...", file=sys.stderr, flush=True)
    write_slide(competition / "test/slide.tiff", side // 2 if options.quick else side)
    recipe = recipe_from_file(case, options)
    models = load_models(recipe, members, "cuda:0" if options.gpu else "cpu")
    [model] = models.values()
    net = (case.core + 2 * case.pad) // SCALE
    model.get_ready((3, net, net), np.dtype("uint8"))
    found = CompetitionFolder.read(competition, recipe.competition)
    workers = len(os.sched_getaffinity(0))
    print("  from a file ...", file=sys.stderr, flush=True)
    sampler = Sampler()
    start = time.perf_counter()
    seconds = 0.0

    def run() -> None:
        nonlocal seconds
        done = predict(found, recipe, models, folder / "out", workers=workers)
        seconds = time.perf_counter() - start
        assert done.report.counts["predicted"] == 1, done.report.notes

    if options.gpu:
        torch.cuda.reset_peak_memory_stats()
        with sampler.running():
            kernels = kernels_share(run)
        busy = Busy(kernels, None, sampler.mean)
        peak = torch.cuda.max_memory_allocated() / 1e9
    else:
        run()
        busy, peak = Busy(), None
    plan = model.memory.total / 1e9 if model.memory else None
    mpx = (side // 2 if options.quick else side) ** 2 / 1e6
    title = f"{mpx:.1f} Mpx of LZW, {workers} readers"
    return Row(title, mpx / seconds, busy, plan, peak, model.warm_up_seconds)


def recipe_from_file(case: Case, options: Options) -> Recipe:
    """The HuBMAP recipe. What random networks find is cut away, since no tissue looks like it."""
    values = Recipe.load("hubmap").model_dump(mode="json", exclude_unset=True)
    [ensemble] = values["ensembles"]
    values["ensembles"] = [ensemble | {"thresholds": 0.999}]
    values["tiles"] |= {"core": case.core, "pad": case.pad}
    values |= {"precision": "auto" if options.gpu else "fp32", "batch": case.batch}
    return Recipe.model_validate(values)


def dice(first: np.ndarray, second: np.ndarray) -> float:
    """Dice of two arrays of masks (..., h, w)."""
    one, other = (BitMask.from_array(a.reshape(-1, a.shape[-1])) for a in (first, second))
    return one.dice(other)


def forget() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def print_table(case: Case, rows: list[Row]) -> None:
    side = (case.core + 2 * case.pad) // SCALE
    print(f"\n{case.title}, views {case.views}, {case.batch} tiles of {side} px")
    print(
        f"{'':24} {'source Mpx/s':>12} {'times':>6} {'kernels':>8} {'batches':>8} {'sampled':>8} "
        f"{'plan':>8} {'peak':>8} {'warm-up':>8} {'Dice':>7} {'h / 6.04 Gpx':>13}"
    )
    for row in rows:
        agreement = "" if row.agreement is None else f"{row.agreement:.4f}"
        print(
            f"{row.name:24} {row.mpx_per_s:12.2f} {row.mpx_per_s / rows[0].mpx_per_s:6.2f} "
            f"{share(row.busy.kernels):>8} {share(row.busy.batches):>8} "
            f"{share(row.busy.sampled):>8} {gigabytes(row.plan_gb):>8} {gigabytes(row.peak_gb):>8} "
            f"{row.warm_up_s:6.1f} s {agreement:>7} {HUBMAP_MPX / row.mpx_per_s / 3600:13.2f}"
        )


def print_run(row: Row) -> None:
    print(
        f"\nthe HuBMAP recipe from a file: {row.name}\n"
        f"{row.mpx_per_s:.2f} source Mpx/s, GPU busy: kernels {share(row.busy.kernels) or 'n/a'}, "
        f"sampled {share(row.busy.sampled) or 'n/a'}, plan {gigabytes(row.plan_gb) or 'n/a'}, "
        f"peak {gigabytes(row.peak_gb) or 'n/a'}, {HUBMAP_MPX / row.mpx_per_s / 3600:.2f} h for "
        "6.04 Gpx"
    )


def share(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def gigabytes(value: float | None) -> str:
    return "" if value is None else f"{value:.2f} GB"


if __name__ == "__main__":
    main()
