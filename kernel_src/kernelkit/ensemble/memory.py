"""`MemoryPlan`: what weights and activations need on the device, and which batch that leaves.

Activations are measured. Each kind of network is given one tile of the size that will come. On a
GPU torch's own allocator gives the peak. On a CPU the live tensors are counted at each operation.
What libraries use inside one operation is not seen there.
"""

import threading
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["MemoryPlan", "Need", "choose", "peak_bytes"]

# Room for what is not measured: the libraries' workspaces, and fragmentation.
_MARGIN = 1.15
_MB = 2**20
# torch keeps in one place for all threads whether a mode is on. Two that overlap leave it so, and
# then torch.compile is passed over in silence.
_measuring = threading.RLock()


@dataclass(frozen=True)
class Need:
    """What one member needs.

    Attributes
    ----------
    member, network
        Their names, for a table.
    weights
        In bytes.
    activations
        The most bytes that are alive at once while the member looks at one tile.
    """

    member: str
    network: str
    weights: int
    activations: int


@dataclass(frozen=True)
class MemoryPlan:
    """How an ensemble fits on its device. As text it is a table.

    Attributes
    ----------
    device
        Its name.
    needs
        One entry per member.
    answers
        Bytes per tile for the tile itself and for the merge of its answers.
    available
        Bytes that the device has for all of this.
    batch
        The most tiles at once.
    on_host
        The places in `needs` of the members that stay in host memory.
    """

    device: str
    needs: tuple[Need, ...]
    answers: int
    available: int
    batch: int
    on_host: frozenset[int]

    @property
    def total(self) -> int:
        """The most bytes that the plan takes on the device."""
        return _total(self.needs, self.answers, self.batch, self.on_host)

    def __str__(self) -> str:
        width = max(len("member"), *(len(need.member) for need in self.needs))
        rows = [f"{'member':{width}} {'network':34} {'weights':>9} {'per tile':>9}  place"]
        rows += [
            f"{need.member:{width}} {need.network[:34]:34} {need.weights / _MB:6.0f} MB "
            f"{need.activations / _MB:6.0f} MB  {'host' if i in self.on_host else 'device'}"
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

    One tile may not fit beside all the weights. Then the largest members stay in host memory, one
    after the other until it fits. Only one of them at a time comes onto the device. If nothing
    fits, the plan keeps all members on the host, and the run shows whether that is enough.
    """
    batch = wanted
    on_host: set[int] = set()
    by_size = sorted(range(len(needs)), key=lambda i: needs[i].weights)
    while _total(needs, answers, batch, on_host) > available:
        if batch > 1:
            batch //= 2
        elif by_size:
            on_host.add(by_size.pop())
        else:
            break
    return MemoryPlan(device, tuple(needs), answers, available, batch, frozenset(on_host))


def _total(needs: Sequence[Need], answers: int, batch: int, on_host: Set[int]) -> int:
    resident = sum(need.weights for i, need in enumerate(needs) if i not in on_host)
    visiting = max((needs[i].weights for i in on_host), default=0)
    activations = max((need.activations for need in needs), default=0)
    return resident + visiting + round(_MARGIN * batch * (activations + answers))


def peak_bytes(run: Callable[[], object], device: torch.device) -> int:
    """The most memory that `run` takes at once, beyond what was taken before it."""
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    with _measuring, _LiveBytes() as live:
        run()
    return live.peak


class _LiveBytes(TorchDispatchMode):
    """Counts the bytes of all tensors that operations make, while they live."""

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
