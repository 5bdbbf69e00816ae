import threading
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from kernelkit.ensemble.device import choose_device, choose_precision, free_bytes, is_out_of_memory
from kernelkit.ensemble.memory import Need, choose, peak_bytes

CPU = torch.device("cpu")
MB = 2**20


def needs(*weights, activations=10):
    return [Need(f"run/{i}", "Unet", w * MB, activations * MB) for i, w in enumerate(weights)]


def test_the_wanted_batch_if_there_is_room():
    """If there is room, the batch is as wanted, and every member is on the device."""
    plan = choose("GPU", needs(100, 200), 0, 1000 * MB, wanted=8)
    assert (plan.batch, plan.on_host) == (8, frozenset())


def test_the_batch_is_halved_until_it_fits():
    """If there is no room, the batch is halved until it fits."""
    plan = choose("GPU", needs(100, 200), 0, 350 * MB, wanted=16)
    assert (plan.batch, plan.on_host) == (4, frozenset())
    assert plan.total <= plan.available


def test_the_largest_members_stay_on_the_host_at_batch_one():
    """If one tile does not fit beside all weights, the largest members stay on the host."""
    plan = choose("GPU", needs(100, 300, 200, 50), 0, 580 * MB, wanted=8)
    assert (plan.batch, plan.on_host) == (1, frozenset({1, 2}))


def test_a_device_too_small_for_anything():
    """If nothing fits, all members stay on the host."""
    plan = choose("GPU", needs(100, 300), 0, 10 * MB, wanted=8)
    assert (plan.batch, plan.on_host) == (1, frozenset({0, 1}))


@given(
    st.lists(st.integers(1, 400), min_size=1, max_size=8),
    st.integers(0, 100),
    st.integers(1, 3000),
    st.sampled_from([1, 3, 8, 16]),
)
def test_a_plan_fits_or_has_tried_everything(weights, activations, available, wanted):
    """A plan fits and the next larger batch does not, or all members are on the host."""
    members = needs(*weights, activations=activations)
    plan = choose("GPU", members, 0, available * MB, wanted)
    halves = [wanted >> i for i in range(5) if wanted >> i]
    assert plan.batch in halves
    if plan.total > plan.available:
        assert plan.batch == 1
        assert len(plan.on_host) == len(members)
    elif plan.batch < wanted and not plan.on_host:
        larger = halves[halves.index(plan.batch) - 1]
        assert (sum(weights) + 1.15 * larger * activations) * MB > plan.available


def test_the_plan_is_a_table():
    """As text the plan has one line per member and one for the whole."""
    plan = choose("a GPU", needs(100, 300, 200, 50), 0, 580 * MB, wanted=8)
    lines = str(plan).splitlines()
    assert len(lines) == 6
    assert "300 MB" in lines[2]
    assert lines[2].endswith("host")
    assert lines[4].endswith("device")
    assert "batches of 1" in lines[-1]


def test_peaks_are_the_tensors_alive_at_once():
    """Freed tensors do not add up, views count once, inputs and weights do not count."""
    layer = nn.Linear(1000, 1000)

    def chain():
        x = torch.zeros(100, 1000)  # 0.4 MB
        for _ in range(10):
            x = layer(x).view(100, 1000).t().t()

    with torch.no_grad():
        assert peak_bytes(chain, CPU) == 2 * 400_000


def test_the_peak_of_a_network_is_that_of_its_tensors():
    """The peak of two convolutions is their two largest neighbouring tensors."""
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 8, 3, padding=1), nn.Conv2d(8, 1, 1)
    )
    tiles = torch.zeros(1, 3, 64, 64)
    with torch.no_grad():
        assert peak_bytes(lambda: network(tiles), CPU) == (16 + 8) * 64 * 64 * 4


def test_free_memory_is_less_than_the_machine_has():
    """Some of the host's memory is free, but not all of it."""
    total = int(Path("/proc/meminfo").read_text().split()[1]) * 1024
    assert 0 < free_bytes(CPU) <= total


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (RuntimeError("CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"), True),
        (RuntimeError("GET was unable to find an engine to execute this computation"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 8 bytes"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_which_errors_mean_that_memory_ran_out(error, expected):
    """Torch's own error counts, and so do the texts of the libraries below it."""
    assert is_out_of_memory(error) is expected


def test_a_real_lack_of_memory_is_recognised():
    """The error for an allocation that no machine can serve is recognised."""
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(raised.value)


def test_precision_on_a_cpu():
    """On a CPU `auto` is bfloat16 if the processor has it, and a name gives its own dtype."""
    assert choose_precision("fp32", CPU) == torch.float32
    assert choose_precision("bf16", CPU) == torch.bfloat16
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    assert (choose_precision("auto", CPU) == torch.bfloat16) == native


@pytest.mark.parametrize(
    ("capability", "asked", "given"),
    [
        ((7, 5), "auto", torch.float16),
        ((7, 5), "bf16", torch.float16),
        ((8, 0), "bf16", torch.bfloat16),
        ((9, 0), "auto", torch.float16),
        ((7, 5), "fp32", torch.float32),
    ],
)
def test_precision_on_a_gpu(monkeypatch, capability, asked, given):
    """A GPU below compute capability 8 gets float16 even if bfloat16 was requested."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert choose_precision(asked, torch.device("cuda", 0)) == given


def test_auto_is_the_cpu_if_there_is_no_gpu(monkeypatch):
    """`auto` is the first GPU if torch has one, else the CPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto") == torch.device("cuda", 0)


def test_two_threads_measure_one_after_the_other():
    """torch keeps for all threads whether it is watched, so that none may end within another."""
    inside, other_inside, ended = threading.Event(), threading.Event(), threading.Event()

    def first():
        inside.set()
        other_inside.wait(0.2)  # it never is

    def second():
        other_inside.set()
        ended.wait(1)

    def measure_second():
        inside.wait(1)
        peak_bytes(second, CPU)

    other = threading.Thread(target=measure_second)
    other.start()
    peak_bytes(first, CPU)
    ended.set()
    other.join()
    assert not is_in_torch_dispatch_mode()
