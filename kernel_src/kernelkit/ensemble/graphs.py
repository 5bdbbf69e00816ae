"""`GraphRecorder`: record what a batch makes the GPU do, and replay it without the CPU's work.

A small network starts hundreds of GPU operations. To start them can take the CPU longer than the
GPU needs to run them. A recorded CUDA graph is started at once.
"""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from kernelkit.ensemble.device import is_out_of_memory
from kernelkit.ensemble.notes import Notes
from kernelkit.ensemble.turns import alone

__all__ = ["GraphRecorder"]


class _Graph(NamedTuple):
    """A graph, with the tensors that it reads and the one that it writes."""

    graph: torch.cuda.CUDAGraph
    sources: tuple[Tensor, ...]
    answer: Tensor


class GraphRecorder:
    """Calls functions by CUDA graphs, one per function, and shapes and dtypes of its inputs.

    All graphs of a recorder are recorded on one stream, and share memory. That is safe because they
    are replayed one after the other, and each answer is copied at once. No other recorder uses that
    stream. Graphs of one stream share a workspace of cuBLAS. Since torch 2.12 the first graph that
    is dropped frees it (pytorch/pytorch#193402). So a recorder drops all of its graphs together.

    If recording fails, a note says so, and functions are called directly from then on.

    Parameters
    ----------
    notes
        Takes a sentence if recording fails.
    """

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._works = True
        self._graphs: dict[Hashable, _Graph] = {}
        self._stream: torch.cuda.Stream | None = None
        self._pool: Any = None  # how torch names memory that graphs share

    def __call__(self, name: Hashable, function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        """What a function gives for the inputs.

        Parameters
        ----------
        name
            Of the function: equal for those that do the same.
        function
            Does the same work on all tensors of the same shapes, and waits for nothing on the CPU.
        """
        key = name, tuple((images.shape, images.dtype) for images in inputs)
        if self._works and key not in self._graphs:
            self._record(key, function, inputs)
        if not self._works:
            return function(*inputs)
        graph, sources, answer = self._graphs[key]
        for source, images in zip(sources, inputs, strict=True):
            source.copy_(images)
        graph.replay()
        return answer.clone()  # the next replay overwrites it

    def forget(self) -> None:
        """Drop all graphs, because weights have moved or memory is needed."""
        if self._stream is not None and self._graphs:
            # torch frees the memory once this stream is done, and another one replays
            self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        self._graphs.clear()
        self._pool = None  # torch refuses one whose last graph is gone

    def _record(
        self, key: Hashable, function: Callable[..., Tensor], inputs: tuple[Tensor, ...]
    ) -> None:
        try:
            with alone(inputs[0].device):
                self._graphs[key] = self._recorded(function, inputs)
        except RuntimeError as error:  # so torch reports an operation that cannot be recorded
            self.forget()
            if is_out_of_memory(error):
                raise
            self._works = False
            self._notes.add(f"CUDA graphs are not used, because of an error ({_reason(error)})")

    def _recorded(self, function: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> _Graph:
        graph = torch.cuda.CUDAGraph()
        device = inputs[0].device
        self._stream = stream = self._stream or torch.cuda.Stream(device)
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        sources = tuple(images.clone() for images in inputs)
        stream.wait_stream(torch.cuda.current_stream(device))
        try:
            # this block also puts the stream back if recording fails, which torch's own does not
            with torch.cuda.stream(stream):
                # what is chosen or allocated at first use must exist before recording starts
                function(*sources)
                with _waiting_refused():
                    function(*sources)
                with torch.cuda.graph(
                    graph, pool=self._pool, stream=stream, capture_error_mode="thread_local"
                ):
                    answer = function(*sources)
        finally:
            # the sources' memory is this stream's again, also if recording failed
            torch.cuda.current_stream(device).wait_stream(stream)
        return _Graph(graph, sources, answer)


def _reason(error: BaseException) -> str:
    """The error in a line. A name for its cause in `_record` would keep all tensors alive."""
    cause = error.__cause__ or error  # what a network fails with has its path around it
    return (str(cause).splitlines() or [type(cause).__name__])[0][:200]


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
