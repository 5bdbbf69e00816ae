"""Which windows the crops of an epoch are cut from, and in which order."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernelkit.training.crops.draws import epoch_generator

__all__ = ["Pool", "Sampler"]


@dataclass(frozen=True, eq=False)
class Pool:
    """Windows that are drawn equally often.

    Attributes
    ----------
    windows
        Their numbers, in the order of the table.
    count
        How many crops an epoch has of them. If there are fewer windows, each comes as often as the
        others, or once more.
    """

    windows: NDArray[np.int64]
    count: int

    def drawn(self, generator: np.random.Generator) -> NDArray[np.int64]:
        """The windows of one pass, in no special order."""
        whole, rest = divmod(self.count, len(self.windows))
        some = generator.permutation(len(self.windows))[:rest]
        return np.concatenate([np.tile(self.windows, whole), self.windows[some]])


@dataclass(frozen=True, eq=False)
class Sampler:
    """The order of windows in each epoch. All epochs are of one length.

    Without `steps` an epoch takes each window as often as its weight says. The beginning of another
    pass fills its last batch. With `steps` it takes as much of that as it needs.

    Attributes
    ----------
    pools
        The windows.
    batch
        Crops per step, of all devices together.
    steps
        Steps per epoch, or None.
    """

    pools: Sequence[Pool]
    batch: int
    steps: int | None = None

    @property
    def steps_per_epoch(self) -> int:
        """How many batches an epoch has."""
        return self.steps or -(-sum(pool.count for pool in self.pools) // self.batch)

    def order(self, seed: int, epoch: int) -> NDArray[np.int64]:
        """The windows of an epoch, one per crop."""
        generator = epoch_generator(seed, epoch)
        wanted = self.steps_per_epoch * self.batch
        passes: list[NDArray[np.int64]] = []
        while sum(map(len, passes)) < wanted:
            drawn = np.concatenate([pool.drawn(generator) for pool in self.pools])
            passes.append(generator.permutation(drawn))
        return np.concatenate(passes)[:wanted]
