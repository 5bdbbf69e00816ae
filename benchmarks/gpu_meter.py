"""How busy a GPU is, in three ways, and how much memory it had.

- `kernels`: the share of time in which the profiler saw it compute or copy. It is exact.
- `batches`: the share of time between the events before and after each batch. Gaps inside of a
  batch count as work, so it is an upper bound.
- `sampled`: the mean of what the driver reports ten times a second.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

__all__ = ["Busy", "Sampler", "kernels_share", "span_of_batches"]

_PERIOD = 0.1


@dataclass(frozen=True)
class Busy:
    """Shares from 0 to 1. None if it could not be measured."""

    kernels: float | None = None
    batches: float | None = None
    sampled: float | None = None


@dataclass
class Sampler:
    """Asks the driver how busy the GPU is, in a thread."""

    shares: list[float] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator[None]:
        over = threading.Event()
        thread = threading.Thread(target=self._sample, args=(over,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    @property
    def mean(self) -> float | None:
        return sum(self.shares) / len(self.shares) if self.shares else None

    def _sample(self, over: threading.Event) -> None:
        while not over.wait(_PERIOD):
            try:
                self.shares.append(torch.cuda.utilization() / 100)
            except Exception:  # without nvidia-ml-py, or in a container that hides the driver
                return


def kernels_share(run: Callable[[], object]) -> float | None:
    """The share of time in which the GPU computed or copied, from its first moment to its last."""
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        run()
        torch.cuda.synchronize()
    spans = sorted(
        (event.time_range.start, event.time_range.end)
        for event in profiler.events()
        if event.device_type == DeviceType.CUDA
    )
    if not spans:  # the driver lets nobody look at its counters
        return None
    busy, reached = 0.0, spans[0][0]
    for begin, end in spans:
        busy += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return busy / max(reached - spans[0][0], 1e-9)


def span_of_batches(step: Callable[[], object], seconds: float) -> tuple[float, float, int]:
    """Ask for batches for so long. Return the seconds, those inside of batches, and their number.

    At least two are asked for. One before does not count.
    """
    step()
    torch.cuda.synchronize()
    events = []
    start = time.perf_counter()
    while len(events) < 2 or time.perf_counter() - start < seconds:
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        before.record()
        step()
        after.record()
        events.append((before, after))
    torch.cuda.synchronize()
    took = time.perf_counter() - start
    inside = sum(before.elapsed_time(after) for before, after in events) / 1000
    return took, inside, len(events)
