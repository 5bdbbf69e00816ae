"""CUDA graphs: what is replayed, and what is left behind by what cannot be recorded."""

import pytest
import torch

from kernelkit.ensemble.graphs import GraphRecorder
from kernelkit.ensemble.notes import Notes
from kernelkit.ensemble.transfer import Uploader
from tests.made.on_device import DEVICE, needs_gpu

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(120)]


def values(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, device=DEVICE)


@torch.no_grad()
def test_a_recorder_gives_what_the_function_gives():
    """Other values, other shapes and more inputs are each right, and earlier answers stay."""
    notes = Notes()
    record = GraphRecorder(lambda *parts: sum(part.sin() for part in parts), notes)
    given = [(values(3, 4),), (values(3, 4),), (values(5),), (values(3, 4), values(3, 4))]
    answers = [record(*parts) for parts in given]
    for parts, answer in zip(given, answers, strict=True):
        torch.testing.assert_close(answer, sum(part.sin() for part in parts))
    if DEVICE.type == "cuda":
        assert notes.sentences == []


@needs_gpu
@torch.no_grad()
def test_a_function_that_waits_is_called_directly():
    """A note says so. Streams and memory are as before, so uploads and cleaning up go on."""
    notes = Notes()
    before = torch.cuda.current_stream(DEVICE)
    record = GraphRecorder(lambda part: part * float(part.sum().item()), notes)
    part = values(64, 64)
    torch.testing.assert_close(record(part), part * part.sum())
    [note] = notes.sentences
    assert note.startswith("CUDA graphs are not used, because of an error")
    assert torch.cuda.current_stream(DEVICE) == before
    assert torch.cuda.get_sync_debug_mode() == 0
    torch.cuda.empty_cache()
    upload = Uploader(DEVICE)
    held = torch.cuda.memory_allocated(DEVICE)
    for _ in range(20):
        upload(torch.zeros(1, 3, 1024, 1024, dtype=torch.uint8).numpy()).sum().item()
    torch.cuda.synchronize(DEVICE)
    torch.cuda.empty_cache()
    assert torch.cuda.memory_allocated(DEVICE) <= held + (8 << 20)
    other = GraphRecorder(lambda part: part + 1, Notes())
    torch.testing.assert_close(other(part), part + 1)


@needs_gpu
@torch.no_grad()
def test_memory_that_runs_out_while_recording_is_an_error_of_memory():
    """The caller makes room then, and recording works afterwards."""
    free = torch.cuda.mem_get_info(DEVICE)[0]
    size = {"bytes": 4 * free}

    def greedy(part):
        return part + torch.empty(size["bytes"], dtype=torch.uint8, device=DEVICE).numel() * 0

    record = GraphRecorder(greedy, Notes())
    with pytest.raises(torch.OutOfMemoryError):
        record(values(8))
    size["bytes"] = 1024
    part = values(8)
    torch.testing.assert_close(record(part), part)
