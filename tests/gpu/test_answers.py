"""Every precision and every option on the device, beside plain float32 on the processor."""

import shutil

import numpy as np
import pytest
import torch

from kernelkit.errors import DeviceError
from tests.made.ensembles import dice
from tests.made.networks import UNET, network, tiles, write_fold, write_run
from tests.made.on_device import (
    DEVICE,
    HALF,
    IS_GPU,
    THRESHOLD,
    differing,
    expected_masks,
    expected_probabilities,
    model_of,
    needs_gpu,
    needs_two_gpus,
    real_tiles,
    recipe_of,
)

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(300)]

LINKNET = UNET | {"arch": "Linknet", "encoder_name": "resnet18"}
# Dice, at least.
FINE = 0.999
ROUGH = 0.995


def masks_of(model):
    return model.predict(real_tiles()).masks([THRESHOLD])


def test_float32_gives_the_plain_masks():
    """At most one pixel of 2000 differs, since sums are added up in another order."""
    assert differing(masks_of(model_of(precision="fp32")), expected_masks()) <= 0.0005


@needs_gpu
def test_float32_with_torchs_own_products():
    """Torch multiplies float32 by TF32 in convolutions, if nobody says otherwise."""
    torch.backends.cudnn.allow_tf32 = True
    assert dice(masks_of(model_of(precision="fp32")), expected_masks()) >= FINE


@pytest.mark.parametrize(
    ("precision", "least"), [("fp16", FINE), ("bf16", ROUGH), ("auto", FINE if IS_GPU else ROUGH)]
)
def test_half_precisions_give_nearly_the_plain_masks(precision, least):
    """Dice is at least .999 with float16 and .995 with bfloat16."""
    assert dice(masks_of(model_of(precision=precision)), expected_masks()) >= least


@pytest.mark.parametrize("option", ["half_weights", "fuse_norms", "channels_last"])
def test_each_option_can_be_left_out(option):
    """What is on by default changes nothing but the last bits."""
    assert dice(masks_of(model_of(**{option: False})), expected_masks()) >= FINE


def test_all_options_left_out():
    """The plain network in float16."""
    options = dict.fromkeys(("half_weights", "fuse_norms", "channels_last"), False)
    assert dice(masks_of(model_of(**options)), expected_masks()) >= FINE


@needs_gpu
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_a_recorded_graph_gives_the_masks_of_a_direct_call(precision):
    """Batches are full, partly filled and of other pixels. The bytes are those without a graph."""
    recorded = model_of(precision=precision, cuda_graph=True)
    plain = model_of(precision=precision)
    for pixels in (real_tiles(), real_tiles()[::-1], real_tiles()[:3]):
        wanted = plain.predict(pixels).bytes().result()
        found = recorded.predict(pixels).bytes().result()
        difference = np.abs(np.subtract(found, wanted, dtype=np.int16))
        # the batch that is filled up may be computed in another way
        assert difference.max() <= (1 if precision == "fp32" else 12)
    assert recorded.notes == plain.notes


@needs_gpu
def test_a_recorded_graph_serves_two_sizes_and_a_level():
    """Each size and each level has a graph of its own."""
    recorded, plain = model_of(cuda_graph=True), model_of()
    for pixels in (real_tiles(), real_tiles()[..., :128, :192], real_tiles()):
        for level in ("ensemble", "member"):
            found = recorded.predict(pixels, level=level).masks([THRESHOLD])
            assert dice(found, plain.predict(pixels, level=level).masks([THRESHOLD])) >= FINE
    assert recorded.notes == plain.notes


@pytest.mark.slow
@needs_gpu
@pytest.mark.skipif(not shutil.which("cc"), reason="Triton compiles with cc, which is missing")
@pytest.mark.parametrize("cuda_graph", [False, True])
def test_a_compiled_network_gives_nearly_the_plain_masks(cuda_graph):
    """`compile` works, with a graph and without one, and no note says otherwise."""
    model = model_of(compile=True, cuda_graph=cuda_graph)
    assert dice(masks_of(model), expected_masks()) >= FINE
    assert model.notes == model_of().notes


@pytest.mark.parametrize("views", ["hubmap", "d4", "rotating"])
def test_views_are_those_of_the_processor(views):
    """Each view is turned and turned back as on the processor."""
    model = model_of(recipe_of(views=views), "fp32")
    assert differing(masks_of(model), expected_masks(views)) <= 0.0005
    half = model_of(recipe_of(views=views), HALF)
    assert dice(masks_of(half), expected_masks(views)) >= FINE


def test_where_members_disagree():
    """The members' deviation is that of the processor, and the answer stays the same."""
    on_device = model_of(precision="fp32").predict(real_tiles(), with_spread=True)
    plain = model_of(precision="fp32", device=torch.device("cpu"))
    wanted = plain.predict(real_tiles(), with_spread=True)
    assert on_device.spread is not None
    torch.testing.assert_close(on_device.spread.cpu(), wanted.spread, atol=2e-3, rtol=0)
    assert differing(on_device.masks([THRESHOLD]), expected_masks()) <= 0.0005


def test_two_calls_give_the_same_bytes():
    """The same batch gives the same bytes, in one model and in one that is loaded again."""
    model = model_of(batch=3)
    first, second = (model.predict(real_tiles()).bytes().result() for _ in range(2))
    again = model_of(batch=3).predict(real_tiles()).bytes().result()
    assert np.array_equal(first, second)
    assert np.array_equal(first, again)


def test_transposed_convolutions_add_up_in_one_order(tmp_path):
    """A decoder of them gives the same bytes each time. cuDNN has ways that would not."""
    write_run(tmp_path / "run", LINKNET, seeds=(0,))
    model = model_of(folder=tmp_path)
    first, *others = (model.predict(real_tiles()).bytes().result() for _ in range(4))
    for other in others:
        assert np.array_equal(other, first)


def test_numbers_too_large_for_float16_get_a_sentence(tmp_path):
    """The networks give infinity in float16, and the error says so. In float32 all is well."""
    module = network(UNET, seed=1)
    with torch.no_grad():
        module.segmentation_head[0].weight.mul_(1e7)
    write_run(tmp_path / "unet", UNET, seeds=())
    write_fold(tmp_path / "unet/fold_0/models", module)
    half, full = (model_of(recipe_of(), p, folder=tmp_path) for p in ("fp16", "fp32"))
    with pytest.raises(DeviceError, match="float16 does that if it overflows"):
        half.preprocess_and_infer(tiles(2))
    assert full.preprocess_and_infer(tiles(2)).shape == (2, 1, 64, 64)


@needs_two_gpus
@pytest.mark.parametrize("cuda_graph", [False, True])
def test_a_model_on_a_second_gpu(cuda_graph):
    """Its bytes are those of the first GPU, which it leaves alone."""
    wanted = model_of().predict(real_tiles()).bytes().result()
    torch.cuda.synchronize(DEVICE)
    held = torch.cuda.memory_allocated(DEVICE)
    torch.cuda.reset_peak_memory_stats(DEVICE)
    model = model_of(device=torch.device("cuda:1"), cuda_graph=cuda_graph)
    for _ in range(3):
        found = model.predict(real_tiles()).bytes().result()
        difference = np.abs(np.subtract(found, wanted, dtype=np.int16))
        assert difference.max() <= (12 if cuda_graph else 0)  # it fills up the last batch
    assert torch.cuda.max_memory_allocated(DEVICE) == held
    assert model.notes == []


@needs_gpu
def test_a_gpu_that_is_not_there():
    """The error counts the GPUs that there are."""
    with pytest.raises(DeviceError, match=r"cuda:99: found \d+ GPU\(s\), which count from cuda:0"):
        model_of(device=torch.device("cuda:99"))


def test_the_model_is_where_it_was_asked_to_be():
    """Its answers lie on the device until they are sent down."""
    answers = model_of().predict(real_tiles())
    assert answers.probabilities.device.type == DEVICE.type
    torch.testing.assert_close(
        answers.probabilities.float().cpu(), expected_probabilities(), atol=0.1, rtol=0
    )
