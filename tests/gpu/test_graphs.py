"""CUDA graphs: what is replayed, and what is left behind by what cannot be recorded."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from kernelkit.ensemble.graphs import GraphRecorder
from kernelkit.ensemble.notes import Notes
from kernelkit.ensemble.transfer import Uploader
from kernelkit.ensemble.turns import together
from tests.made.on_device import DEVICE, needs_gpu, settled

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(120)]


def values(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, device=DEVICE)


@torch.no_grad()
def test_a_recorder_gives_what_the_function_gives():
    """Other values, other shapes and more inputs are each right, and earlier answers stay."""
    notes = Notes()
    recorder = GraphRecorder(notes)

    def total(*parts):
        return sum(part.sin() for part in parts)

    given = [(values(3, 4),), (values(3, 4),), (values(5),), (values(3, 4), values(3, 4))]
    answers = [recorder("total", total, *parts) for parts in given]
    others = [recorder("twice", lambda *parts: 2 * total(*parts), *parts) for parts in given]
    for parts, answer, twice in zip(given, answers, others, strict=True):
        torch.testing.assert_close(answer, total(*parts))
        torch.testing.assert_close(twice, 2 * total(*parts))
    if DEVICE.type == "cuda":
        assert notes.sentences == []


@needs_gpu
@torch.no_grad()
def test_a_function_that_waits_is_called_directly():
    """A note says so. Streams and memory are as before, so uploads and cleaning up go on."""
    notes = Notes()
    before = torch.cuda.current_stream(DEVICE)
    recorder = GraphRecorder(notes)
    part = values(64, 64)
    answer = recorder("waits", lambda part: part * float(part.sum().item()), part)
    torch.testing.assert_close(answer, part * part.sum())
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
    other = GraphRecorder(Notes())
    torch.testing.assert_close(other("more", lambda part: part + 1, part), part + 1)


@needs_gpu
@torch.no_grad()
def test_memory_that_runs_out_while_recording_is_an_error_of_memory():
    """The caller makes room then, and recording works afterwards."""
    free = torch.cuda.mem_get_info(DEVICE)[0]
    size = {"bytes": 4 * free}

    def greedy(part):
        return part + torch.empty(size["bytes"], dtype=torch.uint8, device=DEVICE).numel() * 0

    recorder = GraphRecorder(Notes())
    with pytest.raises(torch.OutOfMemoryError):
        recorder("greedy", greedy, values(8))
    size["bytes"] = 1024
    part = values(8)
    torch.testing.assert_close(recorder("greedy", greedy, part), part)


@torch.no_grad()
def test_graphs_are_dropped_and_recorded_anew():
    """All of a recorder are dropped at once. Those of another one are as before, products too."""
    one, other = GraphRecorder(Notes()), GraphRecorder(Notes())
    weights, part = values(256, 256), values(64, 256)
    for _ in range(3):
        for recorder in (one, other):
            for width in (64, 32):
                answer = recorder("product", torch.matmul, part[:width], weights)
                torch.testing.assert_close(answer, part[:width] @ weights)
        one.forget()
        if DEVICE.type == "cuda":
            torch.cuda.empty_cache()
    settled()


@needs_gpu
@torch.no_grad()
def test_graphs_of_many_shapes_share_memory():
    """Eight shapes take the memory of the largest, and not that of all."""

    def wide(part):
        for _ in range(4):
            part = part + 1
        return part[:1].clone()

    recorder = GraphRecorder(Notes())
    torch.cuda.empty_cache()
    held = [torch.cuda.memory_reserved(DEVICE)]
    for rows in (64, 60, 56, 52, 48, 44, 40, 36):
        recorder("wide", wide, values(rows, 1 << 18))
        torch.cuda.empty_cache()
        held.append(torch.cuda.memory_reserved(DEVICE))
    first, last = held[1] - held[0], held[-1] - held[0]
    inputs = sum((60, 56, 52, 48, 44, 40, 36)) << 20
    assert last <= 1.2 * first + inputs, (first / 2**20, last / 2**20)


@needs_gpu
@torch.no_grad()
def test_threads_record_and_ask_at_once():
    """While one records graph after graph, another waits for the GPU again and again."""
    notes, over = Notes(), threading.Event()
    part = values(64, 64)

    def ask():
        while not over.is_set():
            with together(DEVICE):
                assert float(values(64, 64).sum().item()) >= 0

    def record():
        recorder = GraphRecorder(notes)
        for number in range(1, 17):
            answer = recorder("sines", lambda part: part.sin().sin(), part[:number])
            with together(DEVICE):  # to compare, it has to wait
                torch.testing.assert_close(answer, part[:number].sin().sin())

    with ThreadPoolExecutor(3) as threads:
        asking = threads.submit(ask)
        try:
            for recorded in [threads.submit(record) for _ in range(2)]:
                recorded.result()
        finally:
            over.set()
        asking.result()
    assert notes.sentences == []
