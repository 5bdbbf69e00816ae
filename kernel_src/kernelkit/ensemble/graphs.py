"""CUDA graphs: record what a batch makes the GPU do, and play it again without the CPU's work.

Launching a small network's hundreds of kernels can take the CPU longer than running them takes the
GPU; a recorded graph is one launch.
"""

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from kernelkit.ensemble.device import is_out_of_memory

__all__ = ["GraphRecorder"]

_log = logging.getLogger(__name__)
_WARM_UPS = 2


class GraphRecorder:
    """Calls `function` by graphs, one for each shape and dtype of its input.

    `function` must do the same work on every tensor of a shape, and leave the CPU alone. Where
    recording fails, for whatever reason, it is called plainly from then on.
    """

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.failure: str | None = None
        """Why graphs are not used, if they are not."""
        self._function = function
        self._graphs: dict[
            tuple[torch.Size, torch.dtype], tuple[torch.cuda.CUDAGraph, Tensor, Tensor]
        ] = {}

    def __call__(self, tiles: Tensor) -> Tensor:
        """What `function` gives for `tiles`."""
        key = tiles.shape, tiles.dtype
        if self.failure is None and key not in self._graphs:
            self._record(tiles)
        if self.failure is not None:
            return self._function(tiles)
        graph, source, answer = self._graphs[key]
        source.copy_(tiles)
        graph.replay()
        return answer.clone()  # the next replay will write over it

    def forget(self) -> None:
        """Drop all graphs: weights have moved, or their memory is needed."""
        self._graphs.clear()

    def _record(self, tiles: Tensor) -> None:
        source = tiles.clone()
        try:
            graph = torch.cuda.CUDAGraph()
            # what is chosen or allocated at first use has to be so before recording starts
            beside = torch.cuda.Stream()
            beside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(beside):
                for _ in range(_WARM_UPS):
                    self._function(source)
            torch.cuda.current_stream().wait_stream(beside)
            with torch.cuda.graph(graph):
                answer = self._function(source)
        except Exception as error:  # many operations cannot be recorded, and say so in many ways
            if is_out_of_memory(error):
                raise
            self.failure = (str(error).splitlines() or [type(error).__name__])[0][:200]
            _log.warning("without CUDA graphs, which failed (%s)", self.failure)
            return
        self._graphs[tiles.shape, tiles.dtype] = graph, source, answer
