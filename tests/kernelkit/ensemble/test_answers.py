"""What comes out of an ensemble: masks, bits, bytes, and where the members differ."""

import cv2
import numpy as np
import pytest
import torch
from matplotlib import cbook
from torch import nn

from kernelkit.ensemble import Answers, MegaModel
from kernelkit.ensemble import answers as answers_module
from kernelkit.ensemble.disagreement import DisagreementMap
from kernelkit.errors import DeviceError, RecipeError
from kernelkit.grid import TileGrid
from kernelkit.mask import BitMask
from kernelkit.recipe import Execution
from tests.made.ensembles import dice, ensemble, sequential
from tests.made.networks import tiles

OPTIONS = {
    "fp32": ("fp32", {}),
    "bf16": ("bf16", {}),
    "fp16": ("fp16", {}),
    "contiguous": ("bf16", {"channels_last": False}),
    "autocast weights": ("bf16", {"half_weights": False}),
    "norms kept": ("bf16", {"fuse_norms": False}),
    "graph": ("fp32", {"cuda_graph": True}),
}


@pytest.fixture(scope="module")
def photograph():
    """Tiles of a real photograph (2, 3, 128, 128), uint8."""
    path = cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    pixels = cv2.imread(str(path)).transpose(2, 0, 1)
    return np.stack([pixels[:, 80:208, 150:278], pixels[:, 300:428, 200:328]])


@pytest.mark.parametrize("option", OPTIONS)
def test_masks_agree_with_the_plain_reference(models, photograph, option):
    """Under every option the mask of a real image agrees with float32 networks run one by one."""
    folder, networks = models
    precision, options = OPTIONS[option]
    expected = torch.stack(
        [
            torch.stack([view.sigmoid() for [view] in folds]).mean(0)
            for folds in sequential(networks, photograph).values()
        ]
    ).mean(0)
    threshold = float(expected.median())
    model = MegaModel(
        folder,
        recipe=ensemble(thresholds=threshold),
        precision=precision,
        execution=Execution(**options),
    )
    least = {"fp32": 0.9999, "fp16": 0.999, "bf16": 0.995}[precision]
    assert dice(model.preprocess_and_infer(photograph), expected.numpy() > threshold) >= least


def test_half_weights_change_nothing(models):
    """Weights kept in half precision give the same as weights converted at each call."""
    folder, _ = models
    pixels = tiles(2)
    kept, converted = (
        MegaModel(
            folder,
            recipe=ensemble(),
            precision="bf16",
            execution=Execution(half_weights=half),
        )
        for half in (True, False)
    )
    assert torch.equal(kept.predict(pixels).probabilities, converted.predict(pixels).probabilities)
    sizes = [sum(row["weights_mb"] for row in m.describe()) for m in (kept, converted)]
    assert sizes[0] < 0.55 * sizes[1]


def test_bits_are_the_thresholded_enlarged_cores(models):
    """`bits` gives what enlarging, cutting and thresholding the probabilities gives."""
    folder, _ = models
    scale = 3
    grid = TileGrid(200, 310, core=144, pad=24, scale=scale)
    pixels = tiles(len(grid))
    model = MegaModel(folder, recipe=ensemble(), precision="fp32", batch=4)
    model.predict(pixels)
    answers = model.predict(pixels)
    threshold = float(answers.probabilities.median())
    enlarged = nn.functional.interpolate(answers.probabilities, scale_factor=3, mode="bilinear")
    packed = answers.bits(list(grid), scale, [threshold]).result()
    for tile, bits, plain in zip(grid, packed, enlarged.numpy(), strict=True):
        inner = tile.inner
        core = plain[:, inner.row : inner.row + inner.height, inner.col : inner.col + inner.width]
        assert bits.dtype == np.uint8
        assert bits.shape == (1, tile.core.height, -(-tile.core.width // 8))
        unpacked = np.unpackbits(bits, axis=-1, count=tile.core.width, bitorder="little")
        near = np.abs(core - threshold) < 1e-5
        assert np.array_equal(unpacked[~near], (core > threshold)[~near])


def test_bits_paste_into_a_mask(models):
    """Packed cores, put together, are the mask of the whole image."""
    folder, _ = models
    grid = TileGrid(150, 190, core=64, pad=0)
    pixels = tiles(len(grid))
    model = MegaModel(folder, recipe=ensemble(runs=["fpn"]), precision="fp32")
    mask = BitMask.zeros(150, 190)
    expected = np.zeros((150, 190), np.bool_)
    for tile, bits, plain in zip(
        grid,
        model.predict(pixels).bits(list(grid), 1, model.recipe.thresholds).result(),
        model.preprocess_and_infer(pixels),
        strict=True,
    ):
        core = tile.core
        patch = np.unpackbits(bits[0], axis=-1, count=core.width, bitorder="little")
        mask.paste(core.row, core.col, patch)
        expected[core.row : core.row + core.height, core.col : core.col + core.width] = plain[
            0, : core.height, : core.width
        ]
    assert mask.area == expected.sum()
    assert np.array_equal(mask.to_array(), expected)


def test_bytes_are_rounded_probabilities(models):
    """`bytes` gives 255 p, rounded, in one array per tile."""
    folder, _ = models
    pixels = tiles(3)
    model = MegaModel(folder, recipe=ensemble(), precision="fp32", batch=2)
    answers = model.predict(pixels)
    expected = np.rint(answers.probabilities.numpy() * 255).astype(np.uint8)
    arrived = answers.bytes().result()
    assert len(arrived) == 3
    assert np.array_equal(np.stack(arrived), expected)


def test_one_threshold_per_class_or_one_for_all(models):
    """Bits are refused if the number of thresholds is not that of the classes."""
    folder, _ = models
    grid = TileGrid(64, 64, core=64)
    answers = MegaModel(folder, recipe=ensemble(runs=["fpn"])).predict(tiles(1))
    with pytest.raises(RecipeError, match=r"there are 2 thresholds for 1 class"):
        answers.bits(list(grid), 1, [0.4, 0.5])


def test_same_batch_same_bytes(models):
    """The same tiles give the same bytes, from the same model and from another one."""
    folder, _ = models
    pixels = tiles(3)
    first = MegaModel(folder, recipe=ensemble())
    second = MegaModel(folder, recipe=ensemble())
    assert torch.equal(first.predict(pixels).probabilities, first.predict(pixels).probabilities)
    assert torch.equal(first.predict(pixels).probabilities, second.predict(pixels).probabilities)
    assert first.fingerprint == second.fingerprint


def test_networks_that_overflow_are_noticed(models):
    """If a network answers NaN, neither bits nor bytes come down as if they were a mask."""
    folder, _ = models
    grid = TileGrid(64, 64, core=64)
    model = MegaModel(folder, recipe=ensemble(runs=["fpn"]), precision="fp32")
    [placed] = model._placement.placed
    for parameter in placed._module.segmentation_head.parameters():
        parameter.fill_(torch.inf)
    answers = model.predict(tiles(1))
    for pending in (answers.bits(list(grid), 1, [0.5]), answers.bytes()):
        with pytest.raises(DeviceError, match="NaN or infinity"):
            pending.result()


def test_the_spread_is_the_members_deviation(models):
    """The spread is the standard deviation of the members' probabilities at each pixel."""
    folder, networks = models
    pixels = tiles(3)
    model = MegaModel(folder, recipe=ensemble(), precision="fp32", batch=2)
    answers = model.predict(pixels, with_spread=True)
    plain = model.predict(pixels)
    torch.testing.assert_close(answers.probabilities, plain.probabilities)
    assert plain.spread is None
    views = [view.sigmoid() for folds in sequential(networks, pixels).values() for [view] in folds]
    expected = torch.stack(views).std(0, correction=0)
    # the difference of two squares loses digits if the spread is small
    torch.testing.assert_close(answers.spread, expected, atol=5e-4, rtol=0)


def test_one_member_does_not_disagree(models):
    """The spread of one member is 0."""
    folder, _ = models
    model = MegaModel(folder, recipe=ensemble(runs=["fpn"]), precision="fp32")
    assert model.predict(tiles(1), with_spread=True).spread.max() < 1e-3


def test_disagreement_becomes_a_thumbnail():
    """Each tile's core lands at its place of the thumbnail, averaged over blocks."""
    grid = TileGrid(210, 330, core=96, pad=24, scale=3)
    thumbnail = DisagreementMap(grid, classes=1, block=4)
    rows, columns = np.mgrid[0:400, 0:400]
    spreads = []
    for tile in grid:
        row = tile.read.row + (torch.arange(grid.net_size) + 0.5) * 3
        column = tile.read.col + (torch.arange(grid.net_size) + 0.5) * 3
        spreads.append((row[:, None] * 1000 + column[None])[None])
    for tile, deviation in zip(grid, thumbnail.send(torch.stack(spreads)).result(), strict=True):
        thumbnail.add(tile, deviation)
    assert thumbnail.image.shape == (1, 18, 28)
    expected = (rows[:18, :28] * 12 + 6) * 1000 + columns[:18, :28] * 12 + 6
    assert np.abs(thumbnail.image[0] - expected).max() < 12_500


@pytest.mark.parametrize("thresholds", [None, [0.4], [0.2, 0.5, 0.7]])
def test_bits_of_whole_pictures_are_their_masks(thresholds):
    """They are packed by row. Without thresholds a pixel is of its likeliest class alone."""
    probabilities = torch.rand(2, 3, 9, 13).softmax(1)
    probabilities[0, :, 0, :4] = torch.tensor([0.4, 0.4, 0.2])[:, None]
    probabilities[0, :, 1] = 0
    answers = Answers(probabilities)
    packed = answers.whole_bits(thresholds).result()
    assert [bits.shape for bits in packed] == [(3, 9, 2)] * 2
    bits = np.unpackbits(np.stack(packed), axis=-1, count=13, bitorder="little")
    values = probabilities.numpy()
    if thresholds is None:
        expected = values.argmax(1)[:, None] == np.arange(3)[:, None, None]
        expected &= values > 0
        assert bits[0, :, 0, 0].tolist() == [1, 0, 0], "ties go to the first class"
        assert not bits[0, :, 1].any(), "what a gate has emptied is of no class"
    else:
        expected = values > np.reshape(thresholds, (-1, 1, 1)).astype(np.float32)
    assert np.array_equal(bits, expected)
    assert np.array_equal(answers.masks(thresholds), expected)


def test_whole_pictures_have_one_threshold_per_class_or_one_for_all():
    """Another number of thresholds is refused, for bits and for masks."""
    answers = Answers(torch.rand(1, 3, 4, 4))
    for decide in (answers.whole_bits, answers.masks):
        with pytest.raises(RecipeError, match=r"there are 2 thresholds for 3 class"):
            decide([0.4, 0.5])


@pytest.mark.parametrize("form", ["bits", "bytes", "whole_bits", "masks"])
def test_answers_leave_a_device_without_room_one_by_one(form, monkeypatch):
    """If memory is too little for a batch, each tile leaves alone. The answers are the same."""
    grid = TileGrid(96, 96, core=32, pad=0, scale=2)
    tiles = [grid[0], grid[4], grid[8]]
    answers = Answers(torch.rand(3, 2, 16, 16, generator=torch.Generator().manual_seed(0)))
    arguments = {"bits": (tiles, 2, [0.5]), "whole_bits": ([0.5],), "masks": ([0.5],)}
    made = getattr(answers, form)

    def sent():
        found = made(*arguments.get(form, ()))
        return found if form == "masks" else np.stack(found.result())

    wanted = sent()
    counts = []

    def short_of_memory(real):
        def maybe(probabilities, *others):
            counts.append(len(probabilities))
            if len(probabilities) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB.")
            return real(probabilities, *others)

        return maybe

    for name in ("pack_cores", "are_on", "as_bytes"):
        monkeypatch.setattr(answers_module, name, short_of_memory(getattr(answers_module, name)))
    assert np.array_equal(sent(), wanted)
    assert counts == [3, 1, 1, 1]
