"""Memory that runs out on the device: the same masks, in smaller batches or from the host."""

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
from torch import nn

from kernelkit.ensemble import Answers
from kernelkit.ensemble.device import free_bytes
from tests.made.ensembles import dice, ensemble
from tests.made.networks import tiles, write_fold, write_run
from tests.made.on_device import (
    DEVICE,
    IS_GPU,
    THRESHOLD,
    differing,
    expected_masks,
    model_of,
    needs_gpu,
    real_tiles,
    with_little_memory,
)

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(300)]

_MB = 1 << 20
# A network of 24 M parameters on a GPU. A rehearsal takes a smaller one.
_LARGE = {
    "arch": "Unet",
    "encoder_name": "resnet34" if IS_GPU else "resnet18",
    "in_channels": 3,
    "classes": 1,
}


def masks_of(model):
    return model.predict(real_tiles()).masks([THRESHOLD])


def need_of_four_tiles():
    """What four tiles take with the weights, in bytes."""
    return model_of(precision="fp32", batch=4).plan((3, 256, 256)).total


def test_too_little_memory_when_it_is_planned():
    """If memory is short from the start, the plan takes a smaller batch. The masks are the same."""
    need = need_of_four_tiles()
    model = model_of(precision="fp32", batch=6)
    with with_little_memory(need // 2):
        assert differing(masks_of(model), expected_masks()) <= 0.0005
    if IS_GPU:
        assert model.batch < 6


def test_memory_that_runs_out_midway():
    """Between two batches memory is taken away. No tile is lost, and a note says what was done."""
    model = model_of(precision="fp32", batch=6)
    masks_of(model)
    with with_little_memory(8 * _MB):
        assert differing(masks_of(model), expected_masks()) <= 0.0005
    assert differing(masks_of(model), expected_masks()) <= 0.0005
    if IS_GPU:
        assert [note for note in model.notes if "memory ran out, so the batch is" in note]


@needs_gpu
def test_memory_that_runs_out_while_graphs_are_recorded():
    """Graphs are given up before tiles are. The masks are the same, again and again."""
    model = model_of(precision="fp32", batch=6, cuda_graph=True)
    masks_of(model)
    with with_little_memory(16 * _MB):
        for pixels in (real_tiles(), real_tiles()[..., :128]):
            model.predict(pixels).masks([THRESHOLD])
        assert differing(masks_of(model), expected_masks()) <= 0.0005


def test_members_that_do_not_fit_answer_from_the_host(tmp_path):
    """At a batch of one tile the weights move to the host, and come up for each call."""
    write_large(tmp_path)
    roomy = model_of(ensemble(), "fp32", 1, tmp_path)
    wanted = roomy.predict(tiles(2)).probabilities.cpu()
    del roomy
    model = model_of(ensemble(), "fp32", 1, tmp_path)
    model.predict(tiles(1))
    with with_little_memory(2 * _MB):
        found = model.predict(tiles(2, size=(320, 320)))
        assert np.isfinite(found.probabilities.cpu().numpy()).all()
        again = model.predict(tiles(2)).probabilities.cpu()
    torch.testing.assert_close(again, wanted, atol=1e-4, rtol=1e-3)
    if IS_GPU:
        places = [row["place"] for row in model.describe()]
        assert "host" in places, model.notes


def test_members_that_never_fit_stay_on_the_host_from_the_start(tmp_path):
    """A model that is loaded without room for its weights gives the same answers."""
    write_large(tmp_path)
    wanted = model_of(ensemble(), "fp32", 1, tmp_path).predict(tiles(2)).probabilities.cpu()
    with with_little_memory(180 * _MB):
        model = model_of(ensemble(), "fp32", 1, tmp_path)
        found = model.predict(tiles(2)).probabilities.cpu()
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-3)
    if IS_GPU:
        assert "host" in [row["place"] for row in model.describe()]


def test_weights_on_the_host_in_half_precision():
    """Weights that come up for each call give the masks of weights that stay, bit for bit."""
    model, plain = model_of(), model_of()
    for placed in model._placement.placed:
        placed.keep_on_host()
    assert np.array_equal(masks_of(model), masks_of(plain))
    assert dice(masks_of(model), expected_masks()) >= 0.999


@needs_gpu
def test_answers_leave_a_full_device_one_by_one():
    """The bytes of 64 tiles do not fit beside their probabilities. Those of one tile do."""
    answers = Answers(torch.rand(64, 1, 256, 256, device=DEVICE))
    wanted = answers.bytes().result()
    with with_little_memory(8 * _MB):
        found = answers.bytes().result()
    assert np.array_equal(found, wanted)


@needs_gpu
@pytest.mark.parametrize("half", [False, True])
def test_the_plan_is_near_the_real_peak(half):
    """A large batch takes what was planned for it, give or take 15 %."""
    torch.cuda.empty_cache()
    model = model_of(precision="fp16" if half else "fp32", batch=16)
    pixels = np.tile(real_tiles(), (3, 1, 2, 2))[:16]
    before = torch.cuda.memory_allocated(DEVICE)
    weights = sum(placed.weight_bytes for placed in model._placement.placed)
    model.predict(pixels)
    torch.cuda.reset_peak_memory_stats(DEVICE)
    model.predict(pixels).masks([THRESHOLD])
    peak = torch.cuda.max_memory_allocated(DEVICE) - before + weights
    assert model.memory is not None
    assert model.batch == 16
    assert 0.85 <= model.memory.total / peak <= 1.15, (model.memory.total / _MB, peak / _MB)


@needs_gpu
def test_what_graphs_hold_is_not_free():
    """What a recorded graph holds is not counted as free memory, and is free once it is dropped."""
    model = model_of(cuda_graph=True)
    masks_of(model)
    held = free_bytes(DEVICE)
    model._runner.forget_graphs()
    assert free_bytes(DEVICE) > held


def write_large(folder):
    """Two folds of a network whose weights are large beside what a small tile takes."""
    write_run(folder / "large", _LARGE, seeds=())
    for fold in range(2):
        torch.manual_seed(fold)
        module = smp.create_model(**_LARGE, encoder_weights=None).eval()
        nn.init.normal_(module.segmentation_head[0].weight, std=0.1)
        write_fold(folder / f"large/fold_{fold}/models", module)
