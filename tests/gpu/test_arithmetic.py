"""What is computed beside the networks: input, merges and bits are those of the processor."""

import numpy as np
import pytest
import torch

from kernelkit.ensemble.merge import combine
from kernelkit.ensemble.normalise import normalise
from kernelkit.ensemble.packing import are_on, pack_bits, pack_cores
from kernelkit.ensemble.preparation import Preparation
from kernelkit.ensemble.transfer import Pending, Uploader
from kernelkit.grid import TileGrid
from kernelkit.recipe import NetworkInput
from tests.made.on_device import DEVICE, expected_probabilities, needs_gpu, needs_two_gpus, settled

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(120)]

DTYPES = ["uint8", "uint16", "int16", "uint32", "float32", "float64"]
INPUTS = [
    {},
    {"bands": [2, 1, 1]},
    {"bands": [1, 2, "(b1 + b2) / 2"]},
    {"bands": ["b1 / b2"], "mean": [0.5], "std": [0.2], "divide": 1},
    {"minmax": {"power": 0.5}},
    {"decibel": {"floor": 1e-8, "nodata": 0}, "mean": [-17.4] * 3, "std": [6.3] * 3},
]
METHODS = ["mean", "gmean", "max", "vote", "tsharpen"]


def pixels(dtype: str) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 200, (3, 3, 40, 56)).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_tiles_of_each_dtype_become_the_processors_input(dtype):
    """They go up in their own dtype, and are normalised there."""
    wanted = NetworkInput()
    found = Preparation(DEVICE, wanted, None)(pixels(dtype))
    plain = normalise(torch.from_numpy(pixels(dtype)), wanted)
    torch.testing.assert_close(found.cpu(), plain, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("section", INPUTS, ids=lambda section: ", ".join(section) or "plain")
def test_each_kind_of_input_is_the_processors(section):
    """Bands, ratios, decibels and stretching give what they give on the processor."""
    wanted = NetworkInput.model_validate(section)
    powers = pixels("float32") / 1000
    powers[0, :, :5] = np.nan
    powers[1, :, 5:9] = 0
    found = normalise(torch.from_numpy(powers).to(DEVICE), wanted)
    plain = normalise(torch.from_numpy(powers), wanted)
    torch.testing.assert_close(found.cpu(), plain, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
@pytest.mark.parametrize("how", METHODS)
def test_each_merge_is_the_processors(how, activation):
    """The weighted merge of three answers is that of the processor."""
    random = torch.Generator().manual_seed(0)
    answers = torch.rand(3, 2, 4, 33, 35, generator=random).softmax(2)
    options = {"weights": [1.0, 2.0, 0.5], "temperature": 0.5, "activation": activation}
    found = combine(answers.to(DEVICE), how, **options)
    torch.testing.assert_close(found.cpu(), combine(answers, how, **options), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("thresholds", [None, 0.5])
@pytest.mark.parametrize("width", [1, 8, 53])
def test_bits_are_packed_as_on_the_processor(width, thresholds):
    """Bits of any width are the same. Numpy packs them there, and torch here."""
    random = torch.Generator().manual_seed(width)
    probabilities = torch.rand(3, 4, 21, width, generator=random)
    limits = None if thresholds is None else torch.tensor([thresholds])
    found = are_on(probabilities.to(DEVICE), None if limits is None else limits.to(DEVICE))
    assert torch.equal(
        pack_bits(found).cpu(), torch.from_numpy(packed_by_numpy(probabilities, limits))
    )


def packed_by_numpy(probabilities, limits):
    return np.packbits(are_on(probabilities, limits).numpy(), axis=-1, bitorder="little")


@pytest.mark.parametrize("scale", [1, 3])
def test_cores_are_cut_and_packed_as_on_the_processor(scale):
    """Enlarged real answers give the same bits, but for one pixel in 10 000."""
    probabilities = expected_probabilities()
    side = scale * probabilities.shape[-1]
    grid = TileGrid(4 * side, 4 * side, core=side // 2, pad=side // 4, scale=scale)
    tiles = [grid[grid.columns + 1 + number] for number in range(len(probabilities))]
    limits = torch.tensor([0.5])
    found = pack_cores(probabilities.to(DEVICE), tiles, scale, limits.to(DEVICE))
    wanted = pack_cores(probabilities, tiles, scale, limits)
    for one, other in zip(found, wanted, strict=True):
        bits, plain = (np.unpackbits(part.cpu().numpy()) for part in (one, other))
        assert (bits != plain).mean() <= 1e-4


@needs_gpu
def test_buffers_are_not_filled_before_their_upload_is_over():
    """Forty batches go up while the GPU is busy. Each arrives whole, though its source changed."""
    upload = Uploader(DEVICE)
    busy = torch.rand(4096, 4096, device=DEVICE)
    source = np.empty((4, 3, 512, 512), np.uint8)
    arrived = []
    for number in range(40):
        source[...] = number
        arrived.append(upload(source))
        source[...] = 255
        for _ in range(3):
            busy = busy @ busy
            busy /= busy.norm()
        arrived[-1] = arrived[-1].float().mean()
    assert [float(mean) for mean in arrived] == list(range(40))


def test_batches_that_grow_and_shrink_go_up_whole():
    """Buffers grow with the batch. A list of tiles goes up as well as an array does."""
    upload = Uploader(DEVICE)
    random = np.random.default_rng(0)
    for count, dtype in ((1, "uint8"), (5, "uint16"), (2, "float32"), (7, "uint8")):
        tiles = random.integers(0, 200, (count, 3, 32, 48)).astype(dtype)
        assert np.array_equal(upload(list(tiles)).cpu().numpy(), tiles)
        assert np.array_equal(upload(tiles).cpu().numpy(), tiles)


def test_answers_are_there_once_they_are_looked_at():
    """They are asked for while the device still computes them."""
    values = torch.rand(512, 512, device=DEVICE)
    total = values.clone()
    for _ in range(200 if DEVICE.type == "cuda" else 2):
        total = total @ values
        total = total / total.amax()
    pending = Pending([total[None]], torch.ones(1, dtype=torch.bool, device=DEVICE))
    [found] = pending.result()
    settled()
    assert np.array_equal(found, total.cpu().numpy())


@needs_two_gpus
def test_answers_of_a_second_gpu_are_awaited():
    """The thread's current device is the first GPU, and the answers come from the second."""
    second = torch.device("cuda:1")
    values = torch.rand(4096, 4096, device=second)
    for _ in range(20):
        values = values @ values
        values = values / values.amax()
    [found] = Pending([values[None]], torch.ones(1, dtype=torch.bool, device=second)).result()
    assert np.array_equal(found, values.cpu().numpy())
