"""The memory plan: what weights and activations need on the device, and what batch that leaves.

Activations are measured, not guessed: each kind of network is given one tile of the size that will
come. On a GPU torch's own allocator says what that took at most; on a CPU the tensors alive are
counted at each operation (what libraries use inside an operation is not seen there).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["MemoryPlan", "Need", "choose", "peak_bytes"]

# Room for what grows beside the measured tensors: workspaces of libraries, fragmentation.
_MARGIN = 1.15
_MB = 2**20


@dataclass(frozen=True)
class Need:
    """What one member needs, in bytes."""

    member: str
    network: str
    weights: int
    activations: int
    """The most that is alive at once while it looks at one tile."""


@dataclass(frozen=True)
class MemoryPlan:
    """How an ensemble will fit on its device; `str` of it is a table."""

    device: str
    needs: tuple[Need, ...]
    answers: int
    """Bytes a tile that the tile itself and the merging of its answers take."""
    available: int
    batch: int
    parked: frozenset[int]
    """Which members, by their place in `needs`, stay in the host's memory."""

    @property
    def total(self) -> int:
        """Bytes that the plan will take on the device at most."""
        return _total(self.needs, self.answers, self.batch, self.parked)

    def __str__(self) -> str:
        rows = [f"{'member':32} {'network':34} {'weights':>9} {'a tile':>9}  place"]
        rows += [
            f"{need.member[:32]:32} {need.network[:34]:34} {need.weights / _MB:6.0f} MB "
            f"{need.activations / _MB:6.0f} MB  {'host' if i in self.parked else 'device'}"
            for i, need in enumerate(self.needs)
        ]
        rows.append(
            f"{self.device}: batches of {self.batch} need {self.total / _MB:.0f} MB "
            f"of {self.available / _MB:.0f} MB available"
        )
        return "\n".join(rows)


def choose(
    device: str, needs: Sequence[Need], answers: int, available: int, wanted: int
) -> MemoryPlan:
    """The plan with the largest batch that fits: `wanted`, its half, its quarter, ... 1.

    If even one tile does not fit beside all the weights, the largest members are parked in the
    host's memory, one after the other until it does; only one of them at a time is then on the
    device. If it never does, the plan has all of them parked, and the device will have to say.
    """
    batch = wanted
    parked: set[int] = set()
    by_size = sorted(range(len(needs)), key=lambda i: needs[i].weights)
    while _total(needs, answers, batch, parked) > available:
        if batch > 1:
            batch //= 2
        elif by_size:
            parked.add(by_size.pop())
        else:
            break
    return MemoryPlan(device, tuple(needs), answers, available, batch, frozenset(parked))


def _total(
    needs: Sequence[Need], answers: int, batch: int, parked: set[int] | frozenset[int]
) -> int:
    resident = sum(need.weights for i, need in enumerate(needs) if i not in parked)
    visiting = max((needs[i].weights for i in parked), default=0)
    activations = max((need.activations for need in needs), default=0)
    return resident + visiting + round(_MARGIN * batch * (activations + answers))


def peak_bytes(run: Callable[[], object], device: torch.device) -> int:
    """The most memory that `run` has taken at once, beyond what was taken before it."""
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    with _LiveBytes() as live:
        run()
    return live.peak


class _LiveBytes(TorchDispatchMode):
    """Counts the bytes of all tensors that operations make, for as long as they live."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._known: dict[int, tuple[StorageWeakRef, int]] = {}
        self._older: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for tensor in _tensors((args, kwargs)):
            storage = tensor.untyped_storage()
            if storage._cdata not in self._known:
                self._older.add(storage._cdata)
        answer = func(*args, **(kwargs or {}))
        self._known = {k: entry for k, entry in self._known.items() if not entry[0].expired()}
        for tensor in _tensors(answer):
            storage = tensor.untyped_storage()
            if storage._cdata not in self._older:
                self._known[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        self.peak = max(self.peak, sum(size for _, size in self._known.values()))
        return answer


def _tensors(tree: Any) -> list[Tensor]:
    leaves = torch.utils._pytree.tree_leaves(tree)
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]
