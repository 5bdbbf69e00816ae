"""`CompiledNetwork`: a network by torch.compile, for a few shapes of tiles."""

from typing import Any

import torch
from torch import Tensor, nn

from kernelkit.ensemble.turns import alone

__all__ = ["MOST_SHAPES", "CompiledNetwork"]

# Shapes of tiles that a network is compiled for. To compile takes seconds to minutes.
MOST_SHAPES = 8


class CompiledNetwork:
    """A network that is compiled once per shape of its tiles, as long as there are few.

    Left alone, torch compiles a second shape for a range of sizes. What a picture gets would then
    depend on those that came before. So each shape has a program of its own.

    torch also counts programs per piece of Python code, and stops in silence after eight. All
    segmentation networks of the library share one such piece. So each network adds its own to the
    limit.

    Parameters
    ----------
    network
        In eval mode. Its weights may move to a device afterwards.
    """

    def __init__(self, network: nn.Module) -> None:
        self._call = torch.compile(network, dynamic=False)
        self._shapes: set[torch.Size] = set()
        limits = torch._dynamo.config
        limits.recompile_limit += MOST_SHAPES
        limits.accumulated_recompile_limit += MOST_SHAPES

    def takes(self, tiles: Tensor) -> bool:
        """Whether there is a program for tiles of this shape, or one may be made."""
        return tiles.shape in self._shapes or len(self._shapes) < MOST_SHAPES

    def __call__(self, tiles: Tensor) -> Any:
        """What the network answers. A program is made while no other thread uses the device."""
        if tiles.shape in self._shapes:
            return self._call(tiles)
        with alone(tiles.device):
            answer = self._call(tiles)
        self._shapes.add(tiles.shape)
        return answer
