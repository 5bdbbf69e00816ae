"""Several that ask one device at once: processes that share it, and threads with a copy each.

One alone leaves a GPU idle whenever Python is slower than it. Others may fill these gaps, or be in
each other's way. All load and warm up first. They begin at the same time, and their speeds add up.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from ensemble_loops import Batch, Case, in_bits

from kernelkit.ensemble import MegaModel
from kernelkit.predict.jobs import DeviceProcesses
from kernelkit.recipe import EnsembleRecipe
from kernelkit.vocabulary import Precision

__all__ = ["speeds"]

# How long they wait for each other before they begin, in seconds.
_APART = 0.5

# What a process asks, once it is ready.
_ask: Callable[[], object] | None = None


def speeds(
    models: Path, case: Case, device: str, precision: Precision, seconds: float
) -> Iterator[tuple[str, float]]:
    """Iterate over the ways to share a device: its name, and source Mpx per second of all."""
    for count, name in ((1, "one process"), (2, "two processes")):
        with DeviceProcesses([device] * count) as processes:
            made = [
                processes.submit(_get_ready, models, case, device, precision) for _ in range(count)
            ]
            for future in made:
                future.result()
            begin = time.time() + _APART
            asked = [processes.submit(_batches_per_second, begin, seconds) for _ in range(count)]
            yield name, case.source_mpx * sum(future.result() for future in asked)
    steps = [_asking(models, case, device, precision) for _ in range(2)]
    with ThreadPoolExecutor(len(steps)) as threads:
        begin = time.time() + _APART
        asked = [threads.submit(_rate, step, begin, seconds) for step in steps]
        yield "two copies in threads", case.source_mpx * sum(future.result() for future in asked)


def _get_ready(models: Path, case: Case, device: str, precision: Precision) -> None:
    global _ask
    _ask = _asking(models, case, device, precision)


def _batches_per_second(begin: float, seconds: float) -> float:
    assert _ask is not None
    return _rate(_ask, begin, seconds)


def _asking(models: Path, case: Case, device: str, precision: Precision) -> Callable[[], object]:
    """Ask a new model about a batch, whenever it is called. It was called once."""
    recipe = EnsembleRecipe(name="bench", views=case.views, thresholds=(0.5,))
    model = MegaModel(models, recipe=recipe, precision=precision, batch=case.batch, device=device)
    step, batch = in_bits(model), Batch.make(case)
    step(batch)
    return lambda: step(batch)


def _rate(step: Callable[[], object], begin: float, seconds: float) -> float:
    """Batches per second, from a moment on. Each step waits for the one before."""
    time.sleep(max(0.0, begin - time.time()))
    start, count = time.perf_counter(), 0
    while count < 3 or time.perf_counter() - start < seconds:
        step()
        count += 1
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return count / (time.perf_counter() - start)
