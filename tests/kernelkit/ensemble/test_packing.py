import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from kernelkit.ensemble import Answers
from kernelkit.ensemble.packing import _pack_by_torch, pack_bits, pack_cores
from kernelkit.ensemble.transfer import Pending, Uploader
from kernelkit.errors import DeviceError
from kernelkit.grid import TileGrid

CPU = torch.device("cpu")


@given(st.integers(1, 5), st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_bits_are_packed_as_numpy_packs_them(height, width, seed):
    """Both ways to pack, the CPU's and the GPU's, agree with np.packbits."""
    mask = np.random.default_rng(seed).random((2, 3, height, width)) > 0.5
    expected = np.packbits(mask, axis=-1, bitorder="little")
    for pack in (pack_bits, _pack_by_torch):
        packed = pack(torch.from_numpy(mask))
        assert packed.dtype == torch.uint8
        assert np.array_equal(packed.numpy(), expected)


@pytest.mark.parametrize("scale", [1, 2, 3])
@pytest.mark.parametrize("edges", ["pad", "shift"])
def test_cores_are_cut_from_the_enlarged_tiles(scale, edges):
    """Enlarging only what a core needs agrees with enlarging the whole tile."""
    grid = TileGrid(167, 211, core=12 * 5 * scale, pad=6 * scale, scale=scale, edges=edges)
    side = grid.net_size
    probabilities = torch.rand(len(grid), 2, side, side, generator=torch.manual_seed(0))
    thresholds = torch.tensor([0.4, 0.6])
    enlarged = (
        F.interpolate(probabilities, scale_factor=scale, mode="bilinear")
        if scale > 1
        else (probabilities)
    )
    packed = [
        core for part in pack_cores(probabilities, list(grid), scale, thresholds) for core in part
    ]
    assert len(packed) == len(grid)
    for tile, bits, whole in zip(grid, packed, enlarged, strict=True):
        inner = tile.inner
        core = whole[:, inner.row : inner.row + inner.height, inner.col : inner.col + inner.width]
        mask = np.unpackbits(bits.numpy(), axis=-1, count=core.shape[-1], bitorder="little")
        sure = ((core - thresholds[:, None, None]).abs() > 1e-6).numpy()
        expected = (core > thresholds[:, None, None]).numpy()
        assert np.array_equal(mask[sure], expected[sure])
        assert sure.mean() > 0.999


@pytest.mark.parametrize("scale", [1, 3])
def test_without_thresholds_the_likeliest_class_is_packed(scale):
    """Numpy's argmax of the enlarged tiles, ties to the first class, and zeros to none."""
    grid = TileGrid(167, 211, core=60 * scale, pad=6 * scale, scale=scale)
    side = grid.net_size
    probabilities = torch.rand(len(grid), 3, side, side, generator=torch.manual_seed(0))
    probabilities[:, 2] = probabilities[:, 1]
    probabilities[0] = 0
    packed = [c for part in pack_cores(probabilities, list(grid), scale, None) for c in part]
    enlarged = F.interpolate(probabilities, scale_factor=scale, mode="bilinear")
    for tile, bits, whole in zip(grid, packed, enlarged, strict=True):
        core = whole.numpy()[:, *tile.inner.slices]
        expected = (core.argmax(axis=0) == np.arange(3)[:, None, None]) & (core > 0)
        mask = np.unpackbits(bits.numpy(), axis=-1, count=core.shape[-1], bitorder="little")
        wrong = (mask != expected).any(axis=0)
        assert not (wrong & (np.abs(core[0] - core[1]) > 1e-6)).any()
        assert not mask[2].any()
    assert not packed[0].any()


def test_tiles_go_up_in_their_own_dtype():
    """A batch, or a list of tiles, becomes one tensor of the source's dtype."""
    upload = Uploader(CPU)
    for dtype in (np.uint8, np.uint16, np.int16, np.float32):
        tiles = (np.arange(2 * 3 * 4 * 5) * 7).reshape(2, 3, 4, 5).astype(dtype)
        for form in (tiles, list(tiles)):
            uploaded = upload(form)
            assert uploaded.numpy().dtype == dtype
            assert np.array_equal(uploaded.numpy(), tiles)


def test_answers_come_down_tile_by_tile():
    """The parts of an answer become one array per tile, in order."""
    parts = [torch.zeros(2, 1, 4, 4), torch.ones(3, 1, 4, 2)]
    arrived = Pending(parts, torch.ones(5, dtype=torch.bool)).result()
    assert [tile.shape for tile in arrived] == [(1, 4, 4)] * 2 + [(1, 4, 2)] * 3
    assert [tile.mean() for tile in arrived] == [0, 0, 1, 1, 1]
    assert Pending([], torch.ones(0, dtype=torch.bool)).result() == []


def test_answers_that_are_no_numbers_do_not_pass():
    """Answers that are not valid are an error that says what to do, and no empty mask."""
    with pytest.raises(DeviceError, match="NaN or infinity. Check their weights"):
        Pending([torch.zeros(1, 1, 4, 4)], torch.tensor([False])).result()


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_answers_that_are_no_numbers_cost_only_their_own_tile(value):
    """The others of a batch come down, whatever the sum of that one is."""
    probabilities = torch.full((3, 2, 4, 4), 0.4)
    probabilities[1, 0, 0, :2] = torch.tensor([value, -value])
    first, second, third = Answers(probabilities).bytes().each()
    assert second is None
    assert (first == 102).all()
    assert (third == 102).all()


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16, torch.float32])
def test_float16_is_blamed_only_if_it_ran(precision):
    """The advice to change the precision comes only with answers that were made in float16."""
    answers = Answers(torch.full((1, 1, 4, 4), torch.nan), precision=precision)
    for ask in (answers.bytes, lambda: answers.bits([TileGrid(4, 4, core=4)[0]], 1, [0.5])):
        with pytest.raises(DeviceError, match="the networks gave NaN or infinity") as error:
            ask().result()
        assert ("float16" in str(error.value)) == (precision == torch.float16)
