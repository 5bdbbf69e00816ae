"""Several that ask one device at once: processes that share it, and copies in one process.

One alone leaves a GPU idle whenever Python is slower than it. Others may fill these gaps, or be in
each other's way. Processes load and warm up first. They begin at the same time, and their speeds
add up.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import torch
from ensemble_loops import SCALE, Batch, Case, in_bits

from kernelkit.ensemble import MegaModel
from kernelkit.ensemble.replicas import Replicas
from kernelkit.ensemble.transfer import Pending
from kernelkit.predict.jobs import DeviceProcesses
from kernelkit.recipe import EnsembleRecipe
from kernelkit.vocabulary import Precision

__all__ = ["speeds"]

# How long processes wait for each other before they begin, in seconds.
_APART = 0.5

# What a process asks, once it is ready.
_step: Callable[[], object] | None = None


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
    model = _model(models, case, device, precision)
    with closing(Replicas.on([device] * 2, model)) as replicas:
        yield "two copies", case.source_mpx * _rate(_dealing(replicas, case), seconds)


def _model(models: Path, case: Case, device: str, precision: Precision) -> MegaModel:
    recipe = EnsembleRecipe(name="bench", views=case.views, thresholds=(0.5,))
    return MegaModel(models, recipe=recipe, precision=precision, batch=case.batch, device=device)


def _get_ready(models: Path, case: Case, device: str, precision: Precision) -> None:
    global _step
    ask, batch = in_bits(_model(models, case, device, precision)), Batch.make(case)
    ask(batch)
    _step = partial(ask, batch)


def _batches_per_second(begin: float, seconds: float) -> float:
    assert _step is not None
    time.sleep(max(0.0, begin - time.time()))
    return _rate(_step, seconds)


def _dealing(replicas: Replicas, case: Case) -> Callable[[], object]:
    """Deal a batch to whichever copy is free, and wait for an earlier one. All were asked once."""
    batch = Batch.make(case)

    def question(model: MegaModel) -> Pending:
        answers = model.predict(batch.pixels, [tile.index for tile in batch.tiles])
        return answers.bits(batch.tiles, SCALE, model.recipe.thresholds)

    for copy in replicas.copies:
        question(copy).result()
    in_flight = deque(replicas.ask(question) for _ in range(replicas.in_flight))

    def step() -> object:
        in_flight.append(replicas.ask(question))
        return in_flight.popleft().result().result()

    return step


def _rate(step: Callable[[], object], seconds: float) -> float:
    """Batches per second. Each step waits for an earlier one."""
    start, count = time.perf_counter(), 0
    while count < 4 or time.perf_counter() - start < seconds:
        step()
        count += 1
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return count / (time.perf_counter() - start)
