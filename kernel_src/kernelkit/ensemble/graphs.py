"""`GraphRecorder`: record what a batch makes the GPU do, and replay it without the CPU's work.

A small network starts hundreds of GPU operations. To start them can take the CPU longer than the
GPU needs to run them. A recorded CUDA graph is started at once.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch
from torch import Tensor

from kernelkit.ensemble.device import is_out_of_memory
from kernelkit.ensemble.notes import Notes

__all__ = ["GraphRecorder"]

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
            beside = _stream_beside(inputs[0].device)
            beside.wait_stream(torch.cuda.current_stream(beside.device))
            # this block also puts the stream back if recording fails, which torch's own does not
            with torch.cuda.stream(beside):
                # what is chosen or allocated at first use must exist before recording starts
                self._function(*sources)
                with _waiting_refused():
                    self._function(*sources)
                # other threads may wait for their answers meanwhile
                with torch.cuda.graph(graph, stream=beside, capture_error_mode="thread_local"):
                    answer = self._function(*sources)
            torch.cuda.current_stream(beside.device).wait_stream(beside)
        except RuntimeError as error:  # so torch reports an operation that cannot be recorded
            if is_out_of_memory(error):
                raise
            self._works = False
            cause = error.__cause__ or error  # what a network fails with has its path around it
            reason = (str(cause).splitlines() or [type(cause).__name__])[0][:200]
            self._notes.add(f"CUDA graphs are not used, because of an error ({reason})")
            return
        self._graphs[key] = graph, sources, answer


@lru_cache
def _stream_beside(device: torch.device) -> torch.cuda.Stream:
    """The stream that a device's graphs are recorded on. Each stream has a workspace of its own."""
    return torch.cuda.Stream(device)


@contextmanager
def _waiting_refused() -> Iterator[None]:
    """Let operations fail that make the CPU wait for the GPU.

    They cannot be recorded. If recording itself fails at one, torch 2.10 and 2.11 can free no
    memory any more, as pytorch/pytorch#180395 says.
    """
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)
