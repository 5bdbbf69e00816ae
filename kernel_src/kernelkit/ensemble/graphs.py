"""`GraphRecorder`: record what a batch makes the GPU do, and replay it without the CPU's work.

A small network starts hundreds of GPU operations. To start them can take the CPU longer than the
GPU needs to run them. A recorded CUDA graph is started at once.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from kernelkit.ensemble.device import is_out_of_memory
from kernelkit.ensemble.notes import Notes

__all__ = ["GraphRecorder"]

_WARM_UPS = 2
_Key = tuple[tuple[torch.Size, torch.dtype], ...]


class GraphRecorder:
    """Calls a function by CUDA graphs, one per shapes and dtypes of its inputs.

    If recording fails, a note says so, and the function is called directly from then on.

    Parameters
    ----------
    function
        Does the same work on all tensors of the same shapes, and waits for nothing on the CPU.
    notes
        Takes a sentence if recording fails.
    """

    def __init__(self, function: Callable[..., Tensor], notes: Notes) -> None:
        self._function = function
        self._notes = notes
        self._works = True
        self._graphs: dict[_Key, tuple[torch.cuda.CUDAGraph, tuple[Tensor, ...], Tensor]] = {}

    def __call__(self, *inputs: Tensor) -> Tensor:
        """What the function gives for the inputs."""
        key = tuple((images.shape, images.dtype) for images in inputs)
        if self._works and key not in self._graphs:
            self._record(key, inputs)
        if not self._works:
            return self._function(*inputs)
        graph, sources, answer = self._graphs[key]
        for source, images in zip(sources, inputs, strict=True):
            source.copy_(images)
        graph.replay()
        return answer.clone()  # the next replay overwrites it

    def forget(self) -> None:
        """Drop all graphs, because weights have moved or memory is needed."""
        self._graphs.clear()

    def _record(self, key: _Key, inputs: tuple[Tensor, ...]) -> None:
        sources = tuple(images.clone() for images in inputs)
        try:
            graph = torch.cuda.CUDAGraph()
            # what is chosen or allocated at first use must exist before recording starts
            beside = torch.cuda.Stream()
            beside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(beside):
                for _ in range(_WARM_UPS):
                    self._function(*sources)
            torch.cuda.current_stream().wait_stream(beside)
            with torch.cuda.graph(graph):
                answer = self._function(*sources)
        except RuntimeError as error:  # so torch reports an operation that cannot be recorded
            if is_out_of_memory(error):
                raise
            self._works = False
            reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
            self._notes.add(f"CUDA graphs are not used, because of an error ({reason})")
            return
        self._graphs[key] = graph, sources, answer
