import pytest
import torch

from kernelkit.ensemble.device import has_code_for
from kernelkit.errors import DeviceError
from kernelkit.predict.deadline import Deadline
from kernelkit.predict.session import Session

HOME: dict[str, str] = {}
BATCH = {"KAGGLE_KERNEL_RUN_TYPE": "Batch"}
RERUN = BATCH | {"KAGGLE_IS_COMPETITION_RERUN": "1"}


def test_limits_for_trying_hold_at_home_and_not_in_the_hidden_rerun() -> None:
    """A limit of three images means three at home and in a session, and all in the rerun."""
    assert Session.detect(HOME).limit(3) == 3
    assert Session.detect(BATCH).limit(3) == 3
    assert Session.detect(RERUN).limit(3) is None
    assert Session.detect(HOME).limit(0) is None


def test_strict_is_off_in_the_hidden_rerun() -> None:
    """A run that fails has no score, so the rerun is never strict."""
    assert Session.detect(BATCH).strict(True)
    assert not Session.detect(RERUN).strict(True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_kaggle_session_without_a_gpu_stops_unless_told_to_go_on() -> None:
    """The error comes before anything is read, and says what to do."""
    with pytest.raises(DeviceError, match="allow_cpu = True"):
        Session.detect(BATCH).device()
    assert Session.detect(BATCH).device(allow_cpu=True).type == "cpu"
    assert Session.detect(HOME).device().type == "cpu"


# What builds of torch for CUDA 12.8 and 12.6 say that they have code for.
CUDA_128 = ["sm_70", "sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"]
CUDA_126 = ["sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90"]


@pytest.mark.parametrize(
    ("gpu", "capability", "runs"),
    [
        ("P100", (6, 0), {"12.8": False, "12.6": True}),
        ("T4", (7, 5), {"12.8": True, "12.6": True}),
        ("L4", (8, 9), {"12.8": True, "12.6": True}),
        ("H100", (9, 0), {"12.8": True, "12.6": True}),
        ("RTX Pro 6000", (12, 0), {"12.8": True, "12.6": False}),
    ],
)
def test_a_gpu_runs_what_was_built_for_it(
    gpu: str, capability: tuple[int, int], runs: dict[str, bool]
) -> None:
    """Code for a minor number runs on later ones of its major number, and on no other."""
    builds = {"12.8": CUDA_128, "12.6": CUDA_126}
    assert {name: has_code_for(capability, code) for name, code in builds.items()} == runs, gpu


def test_code_that_is_compiled_when_it_is_loaded_runs_on_all_later_gpus() -> None:
    """What a build does not know, it cannot refuse."""
    assert has_code_for((12, 0), ["sm_80", "compute_80"])
    assert not has_code_for((7, 5), ["sm_80", "compute_80", "ptx"])


def test_a_deadline_keeps_its_reserve() -> None:
    """Of two hours with half an hour in reserve, work may take an hour and a half."""
    now = 1000.0
    deadline = Deadline(2, reserve=30, clock=lambda: now)
    assert deadline.seconds_left == 90 * 60
    assert not deadline.is_over
    now += 90 * 60
    assert deadline.is_over
