import cv2
import numpy as np
import pytest
import timm
import torch
import yaml
from matplotlib import cbook
from torch import nn

from kernelkit.ensemble import MegaModel
from kernelkit.ensemble.disagreement import DisagreementMap
from kernelkit.ensemble.graphs import GraphRecorder
from kernelkit.errors import CheckpointError, DeviceError, RecipeError
from kernelkit.grid import TileGrid
from kernelkit.mask import BitMask
from kernelkit.recipe import EnsembleRecipe, Execution
from tests.small_networks import FPN, UNET, answer, checkpoint, tiles, write_run

PLAIN = Execution(channels_last=False, half_weights=False, fold_norms=False)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two runs: three folds of a U-Net and one of an FPN; their networks by run."""
    folder = tmp_path_factory.mktemp("models")
    networks = {
        "fpn": write_run(folder / "fpn", FPN, seeds=(1,)),
        "unet": write_run(folder / "unet", UNET, seeds=(1, 2, 3)),
    }
    return folder, networks


def ensemble(**settings):
    return EnsembleRecipe.model_validate({"name": "test", **settings})


def normalised(pixels):
    mean, std = (np.array(v, np.float32)[:, None, None] for v in (MEAN, STD))
    return torch.from_numpy((pixels.astype(np.float32) / 255 - mean) / std)


def sequential(networks, pixels, turns=(lambda x: x,), backs=(lambda x: x,)):
    """The reference: every network alone, every view alone, float32; logits by run, fold, view."""
    inputs = normalised(pixels)
    return {
        run: [
            [back(answer(module, turn(inputs))) for turn, back in zip(turns, backs, strict=True)]
            for module in folds
        ]
        for run, folds in networks.items()
    }


def dice(first, second):
    return 2 * (first & second).sum() / (first.sum() + second.sum())


def test_the_readmes_call(models):
    """`MegaModel(dir, threshold, averaging_mode)` is a mean over models of means over folds."""
    folder, networks = models
    pixels = tiles(3)
    model = MegaModel(folder, threshold=0.4, averaging_mode="mean", precision="fp32")
    logits = sequential(networks, pixels)
    expected = torch.stack(
        [torch.stack([view.sigmoid() for [view] in folds]).mean(0) for folds in logits.values()]
    ).mean(0)
    torch.testing.assert_close(model.predict(pixels), expected, atol=1e-5, rtol=1e-4)
    masks = model.preprocess_and_infer(pixels)
    assert masks.dtype == np.bool_
    assert masks.shape == (3, 1, 64, 64)
    assert dice(masks, expected.numpy() > 0.4) > 0.999


def test_the_readmes_preprocess_fn(models):
    """`preprocess_fn` gets the raw tiles on the device, and its answer is what networks see."""
    folder, _ = models
    pixels = tiles(2)
    seen = []

    def by_hand(batch):
        seen.append(batch.dtype)
        values = batch.float() / 255
        return (values - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]

    model = MegaModel(folder, preprocess_fn=by_hand, precision="fp32")
    plain = MegaModel(folder, precision="fp32")
    torch.testing.assert_close(model.predict(pixels), plain.predict(pixels))
    assert set(seen) == {torch.uint8}
    assert model.fingerprint != plain.fingerprint


HUBMAP_TURNS = (
    lambda x: x,
    lambda x: torch.rot90(x, 1, (-2, -1)),
    lambda x: x.flip(-1),
    lambda x: torch.rot90(x.flip(-1), 1, (-2, -1)),
)
HUBMAP_BACKS = (
    lambda x: x,
    lambda x: torch.rot90(x, -1, (-2, -1)),
    lambda x: x.flip(-1),
    lambda x: torch.rot90(x, -1, (-2, -1)).flip(-1),
)


def test_the_hubmap_order(models):
    """HuBMAP: mean of logits over 4 views, then of probabilities over folds and models."""
    folder, networks = models
    pixels = tiles(2, size=(64, 96))
    model = MegaModel.from_recipe(folder, ensemble(views="hubmap"), precision="fp32")
    logits = sequential(networks, pixels, HUBMAP_TURNS, HUBMAP_BACKS)
    runs = [
        torch.stack([torch.stack(views).mean(0).sigmoid() for views in folds]).mean(0)
        for folds in logits.values()
    ]
    expected = torch.stack(runs).mean(0)
    torch.testing.assert_close(model.predict(pixels), expected, atol=1e-5, rtol=1e-4)


def test_the_clouds_order(models):
    """Clouds: flips merged by p^0.5 and the mean, models of several sizes resized and averaged."""
    folder, networks = models
    pixels = tiles(2, size=(64, 128))
    recipe = ensemble(
        views=["identity", "hflip"],
        merge={
            "views": "mean of probabilities",
            "folds": "mean of probabilities",
            "models": "tsharpen(0.5) of probabilities",
            "scales": "tsharpen(0.5) of probabilities",
        },
        pyramid=[
            {"zoom": 0.5, "runs": ["fpn"]},
            {"zoom": 1, "runs": ["unet"], "weight": 3},
        ],
    )
    inputs = normalised(pixels)

    def seen(module, images):
        mirrored = answer(module, images.flip(-1)).flip(-1)
        return (answer(module, images).sigmoid() + mirrored.sigmoid()) / 2

    half = nn.functional.interpolate(inputs, (32, 64), mode="bilinear", antialias=True)
    small = seen(networks["fpn"][0], half)
    small = nn.functional.interpolate(small, (64, 128), mode="bilinear") ** 0.5
    large = torch.stack([seen(module, inputs) for module in networks["unet"]]).mean(0) ** 0.5
    expected = (small**0.5 + 3 * large**0.5) / 4
    model = MegaModel.from_recipe(folder, recipe, precision="fp32")
    torch.testing.assert_close(model.predict(pixels), expected, atol=1e-5, rtol=1e-4)


def test_the_unosat_order(tmp_path):
    """UNOSAT: dB input of two classes, mean of logits over 4 rotations, then softmax."""
    description = FPN | {"classes": 2}
    [module] = write_run(tmp_path / "run", description, seeds=(3,))
    pixels = np.random.default_rng(0).gamma(1, 0.05, (2, 3, 64, 64)).astype(np.float32)
    pixels[0, :, :9] = 0  # what ortho-rectification leaves without data
    mean, std = (-17.399, -10.020, -12.108), (6.290, 5.777, 5.795)
    recipe = ensemble(
        activation="softmax",
        views="unosat",
        input={"decibel": True, "mean": mean, "std": std},
    )
    decibel = 10 * np.log10(np.where(pixels > 0, pixels, 1))
    inputs = (decibel - np.array(mean)[:, None, None]) / np.array(std)[:, None, None]
    inputs = torch.from_numpy(np.where(pixels > 0, inputs, 0).astype(np.float32))
    turned = [
        torch.rot90(answer(module, torch.rot90(inputs, k, (-2, -1))), -k, (-2, -1))
        for k in range(4)
    ]
    expected = torch.stack(turned).mean(0).softmax(1)
    model = MegaModel.from_recipe(tmp_path, recipe, precision="fp32")
    torch.testing.assert_close(model.predict(pixels), expected, atol=1e-5, rtol=1e-4)


def test_weights_by_run_and_by_fold(models):
    """Weights by patterns of runs and of members make weighted means of models and of folds."""
    folder, networks = models
    pixels = tiles(2)
    recipe = ensemble(weights={"*/fold_0": 2, "unet": 0.5})
    logits = sequential(networks, pixels)
    folds = [view.sigmoid() for [view] in logits["unet"]]
    unet = (2 * folds[0] + folds[1] + folds[2]) / 4
    expected = (logits["fpn"][0][0].sigmoid() + 0.5 * unet) / 1.5
    model = MegaModel.from_recipe(folder, recipe, precision="fp32")
    torch.testing.assert_close(model.predict(pixels), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("size", [(64, 64), (50, 70), (33, 31)])
def test_sides_that_no_stride_divides(models, size):
    """Tiles of any size are padded for the networks and cut again; what is inside agrees."""
    folder, networks = models
    pixels = tiles(1, size=size)
    model = MegaModel.from_recipe(folder, ensemble(runs=["fpn"]), precision="fp32")
    probabilities = model.predict(pixels)
    assert probabilities.shape == (1, 1, *size)
    padded = np.pad(pixels, ((0, 0), (0, 0), (0, -size[0] % 32), (0, -size[1] % 32)), mode="edge")
    expected = answer(networks["fpn"][0], normalised(padded)).sigmoid()
    torch.testing.assert_close(probabilities, expected[..., : size[0], : size[1]])


def test_rotating_views_follow_the_index(models):
    """With rotating views a tile is seen in the view of its own index, wherever in a batch."""
    folder, _ = models
    pixels = tiles(5)
    recipe = ensemble(runs=["fpn"], views="rotating")
    model = MegaModel.from_recipe(folder, recipe, precision="fp32", batch=2)
    by_index = model.predict(pixels, indices=[0, 1, 2, 3, 4])
    single = [model.predict(pixels[i : i + 1], indices=[i]) for i in range(5)]
    torch.testing.assert_close(by_index, torch.cat(single))
    still = MegaModel.from_recipe(folder, ensemble(runs=["fpn"]), precision="fp32")
    assert torch.equal(by_index[0], still.predict(pixels)[0])
    assert not torch.allclose(by_index[1], still.predict(pixels)[1])


@pytest.mark.parametrize(
    ("dtype", "divide"), [("uint16", 65535.0), ("int16", 255.0), ("float32", 1.0)]
)
def test_other_sources(tmp_path, dtype, divide):
    """One band of another dtype is converted on the device, values above 32767 included."""
    description = FPN | {"in_channels": 1}
    [module] = write_run(tmp_path / "run", description, seeds=(1,))
    pixels = (np.random.default_rng(0).random((2, 2, 64, 64)) * divide).astype(dtype)
    settings = {"bands": [2], "divide": divide, "mean": [0.4], "std": [0.2]}
    model = MegaModel.from_recipe(tmp_path, ensemble(input=settings), precision="fp32")
    inputs = (pixels[:, 1:].astype(np.float32) / np.float32(divide) - 0.4) / 0.2
    expected = answer(module, torch.from_numpy(inputs.astype(np.float32))).sigmoid()
    torch.testing.assert_close(model.predict(pixels), expected, atol=1e-5, rtol=1e-4)


def test_same_batch_same_bytes(models):
    """The same tiles give the same bytes, from the same model and from another one."""
    folder, _ = models
    pixels = tiles(3)
    first = MegaModel.from_recipe(folder, ensemble())
    second = MegaModel.from_recipe(folder, ensemble())
    assert torch.equal(first.predict(pixels), first.predict(pixels))
    assert torch.equal(first.predict(pixels), second.predict(pixels))
    assert first.fingerprint == second.fingerprint


def test_tiles_may_come_as_a_list_and_stay_untouched(models):
    """A list of read-only tiles is as good as an array, and no tile is changed."""
    folder, _ = models
    pixels = tiles(3)
    kept = pixels.copy()
    listed = list(pixels)
    for tile in listed:
        tile.flags.writeable = False
    model = MegaModel.from_recipe(folder, ensemble(runs=["fpn"]))
    assert torch.equal(model.predict(listed), model.predict(pixels))
    pixels.flags.writeable = False
    model.predict(pixels)
    assert np.array_equal(pixels, kept)


def test_the_fingerprint_follows_weights_and_settings(models):
    """Another member, another setting or another precision is another fingerprint."""
    folder, _ = models
    prints = {
        MegaModel.from_recipe(
            folder, ensemble(**{"runs": ["unet"], **settings}), precision=precision
        ).fingerprint
        for settings, precision in [
            ({}, "fp32"),
            ({}, "bf16"),
            ({"runs": ["fpn"]}, "fp32"),
            ({"runs": ["fpn"], "views": "flips"}, "fp32"),
            ({"runs": ["fpn"], "thresholds": 0.4}, "fp32"),
        ]
    }
    assert len(prints) == 5


def test_the_table_has_a_row_a_member(models):
    """`describe` tells of each member its network, size, place, score and checkpoint."""
    folder, networks = models
    rows = MegaModel.from_recipe(folder, ensemble()).describe()
    assert [row["member"] for row in rows] == [
        "fpn/fold_0",
        "unet/fold_0",
        "unet/fold_1",
        "unet/fold_2",
    ]
    assert rows[0]["parameters"] == sum(p.numel() for p in networks["fpn"][0].parameters())
    assert rows[1]["checkpoint"] == "e2_t4_cmax_ema_0.91.pth"
    assert {row["place"] for row in rows} == {"cpu"}


OPTIONS = {
    "fp32": ("fp32", {}),
    "bf16": ("bf16", {}),
    "fp16": ("fp16", {}),
    "contiguous": ("bf16", {"channels_last": False}),
    "autocast weights": ("bf16", {"half_weights": False}),
    "norms kept": ("bf16", {"fold_norms": False}),
    "graph": ("fp32", {"cuda_graph": True}),
}


@pytest.mark.parametrize("option", OPTIONS)
def test_masks_agree_with_the_plain_reference(models, photograph, option):
    """For every option the mask of a real image agrees with float32 networks run one by one."""
    folder, networks = models
    precision, settings = OPTIONS[option]
    expected = torch.stack(
        [
            torch.stack([view.sigmoid() for [view] in folds]).mean(0)
            for folds in sequential(networks, photograph).values()
        ]
    ).mean(0)
    threshold = float(expected.median())
    model = MegaModel.from_recipe(
        folder,
        ensemble(thresholds=threshold),
        precision=precision,
        execution=Execution(**settings),
    )
    least = {"fp32": 0.9999, "fp16": 0.999, "bf16": 0.995}[precision]
    assert dice(model.preprocess_and_infer(photograph), expected.numpy() > threshold) >= least


@pytest.fixture(scope="module")
def photograph():
    """Tiles of a real photograph (2, 3, 128, 128), uint8."""
    path = cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    pixels = cv2.imread(str(path)).transpose(2, 0, 1)
    return np.stack([pixels[:, 80:208, 150:278], pixels[:, 300:428, 200:328]])


def test_half_weights_change_nothing(models):
    """Keeping weights in half precision gives the bytes that converting them each time gives."""
    folder, _ = models
    pixels = tiles(2)
    kept, converted = (
        MegaModel.from_recipe(
            folder,
            ensemble(),
            precision="bf16",
            execution=Execution(half_weights=half),
        )
        for half in (True, False)
    )
    assert torch.equal(kept.predict(pixels), converted.predict(pixels))
    sizes = [sum(row["weights_mb"] for row in m.describe()) for m in (kept, converted)]
    assert sizes[0] < 0.55 * sizes[1]


def test_bits_are_the_thresholded_enlarged_cores(models):
    """`predict_bits` gives what enlarging, cutting and thresholding the probabilities gives."""
    folder, _ = models
    scale = 3
    grid = TileGrid(200, 310, core=144, pad=24, scale=scale)
    pixels = tiles(len(grid))
    model = MegaModel.from_recipe(folder, ensemble(), precision="fp32", batch=4)
    model.predict(pixels)
    threshold = float(model.predict(pixels).median())
    model = MegaModel.from_recipe(folder, ensemble(thresholds=threshold), precision="fp32", batch=4)
    enlarged = nn.functional.interpolate(model.predict(pixels), scale_factor=3, mode="bilinear")
    packed = model.predict_bits(pixels, list(grid), scale).result()
    for tile, bits, plain in zip(grid, packed, enlarged.numpy(), strict=True):
        inner = tile.inner
        core = plain[:, inner.row : inner.row + inner.height, inner.col : inner.col + inner.width]
        assert bits.dtype == np.uint8
        assert bits.shape == (1, tile.core.height, -(-tile.core.width // 8))
        unpacked = np.unpackbits(bits, axis=-1, count=tile.core.width, bitorder="little")
        near = np.abs(core - threshold) < 1e-5
        assert np.array_equal(unpacked[~near], (core > threshold)[~near])


def test_networks_that_overflow_are_noticed(models):
    """Where a network answers NaN, neither bits nor bytes come down as if they were a mask."""
    folder, _ = models
    grid = TileGrid(64, 64, core=64)
    model = MegaModel.from_recipe(folder, ensemble(runs=["fpn"]), precision="fp32")
    [seat] = model._seating.seats
    for parameter in seat._module.segmentation_head.parameters():
        parameter.fill_(torch.inf)
    for pending in (model.predict_bits(tiles(1), list(grid), 1), model.predict_bytes(tiles(1))):
        with pytest.raises(DeviceError, match="no number"):
            pending.result()


def test_bytes_are_rounded_probabilities(models):
    """`predict_bytes` gives 255 p, rounded, one array a tile."""
    folder, _ = models
    pixels = tiles(3)
    model = MegaModel.from_recipe(folder, ensemble(), precision="fp32", batch=2)
    expected = np.rint(model.predict(pixels).numpy() * 255).astype(np.uint8)
    answers = model.predict_bytes(pixels).result()
    assert len(answers) == 3
    assert np.array_equal(np.stack(answers), expected)


def test_disagreement_is_the_members_deviation(models):
    """The disagreement is the standard deviation of the members' probabilities, over blocks."""
    folder, networks = models
    pixels = tiles(3)
    model = MegaModel.from_recipe(folder, ensemble(), precision="fp32", batch=2)
    probabilities, spread = model.predict_with_disagreement(pixels, block=16)
    torch.testing.assert_close(probabilities, model.predict(pixels))
    answers = [
        view.sigmoid() for folds in sequential(networks, pixels).values() for [view] in folds
    ]
    deviation = torch.stack(answers).std(0, correction=0).numpy()
    expected = deviation.reshape(3, 1, 4, 16, 4, 16).mean((3, 5))
    np.testing.assert_allclose(spread.numpy(), expected, atol=1e-4)


def test_one_member_does_not_disagree(models):
    """An ensemble of one member has a disagreement of 0."""
    folder, _ = models
    model = MegaModel.from_recipe(folder, ensemble(runs=["fpn"]), precision="fp32")
    _, spread = model.predict_with_disagreement(tiles(1))
    assert spread.max() < 1e-3


def test_disagreement_becomes_a_thumbnail():
    """Each tile's core lands at its place of the thumbnail, whatever the sizes."""
    grid = TileGrid(210, 330, core=96, pad=24, scale=3)
    thumbnail = DisagreementMap(grid, classes=1, block=4)
    rows, columns = np.mgrid[0:400, 0:400]
    for tile in grid:
        blocks = grid.net_size // 4
        row = tile.read.row + (np.arange(blocks) + 0.5) * 12
        column = tile.read.col + (np.arange(blocks) + 0.5) * 12
        thumbnail.add(tile, (row[:, None] * 1000 + column[None]).astype(np.float32)[None])
    assert thumbnail.image.shape == (1, 18, 28)
    expected = (rows[:18, :28] * 12 + 6) * 1000 + columns[:18, :28] * 12 + 6
    assert np.abs(thumbnail.image[0] - expected).max() < 12_500


class Greedy(nn.Module):
    """Runs out of memory with more than `limit` tiles at once, or while it is not on the host."""

    def __init__(self, network, limit):
        super().__init__()
        self.network, self.limit = network, limit
        self.batches = []

    def forward(self, x):
        if len(x) > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB.")
        self.batches.append(len(x))
        return self.network(x)


def make_greedy(model, limit):
    """Let every member of a model run out of memory above `limit` tiles."""
    greedy = []
    for seat in model._seating.seats:
        seat._module = Greedy(seat._module, limit)
        greedy.append(seat._module)
    return greedy


def test_out_of_memory_halves_the_batch_and_loses_nothing(models):
    """Where memory runs out, the same tiles are tried again in halves, and the model says so."""
    folder, _ = models
    pixels = tiles(11)
    recipe = ensemble(runs=["fpn"])
    expected = MegaModel.from_recipe(folder, recipe, precision="fp32").predict(pixels)
    model = MegaModel.from_recipe(folder, recipe, precision="fp32", batch=8)
    [greedy] = make_greedy(model, limit=3)
    torch.testing.assert_close(model.predict(pixels), expected)
    assert model.batch == 2
    assert greedy.batches[1:] == [2, 2, 2, 2, 2, 1]
    assert [note for note in model.notes if "batches of 2" in note]
    torch.testing.assert_close(model.predict(pixels), expected)


def test_at_one_tile_the_largest_member_moves_to_the_host(models):
    """At batch 1 members are parked, the largest first, until it goes on; answers are the same."""
    folder, _ = models
    pixels = tiles(2)
    expected = MegaModel.from_recipe(folder, ensemble(), precision="fp32").predict(pixels)
    model = MegaModel.from_recipe(folder, ensemble(), precision="fp32", batch=2)
    seats = model._seating.seats

    class Crowded(Greedy):
        def forward(self, x):
            self.limit = 8 if sum(seat.parked for seat in seats) >= 2 else 0
            return super().forward(x)

    smallest = min(seats, key=lambda seat: seat.weight_bytes)
    for seat in seats:
        seat._module = Crowded(seat._module, 0)
    torch.testing.assert_close(model.predict(pixels), expected)
    assert sum(seat.parked for seat in seats) == 2
    assert not smallest.parked
    assert sorted(row["place"] for row in model.describe()) == ["cpu", "cpu", "host", "host"]
    assert any("host's memory" in note for note in model.notes)


def test_too_little_memory_for_one_tile_is_said(models):
    """Where even one tile and one member do not fit, the error says what to do."""
    folder, _ = models
    model = MegaModel.from_recipe(folder, ensemble(runs=["fpn"]), batch=2)
    make_greedy(model, limit=0)
    with pytest.raises(DeviceError, match="too little memory for one tile"):
        model.predict(tiles(1))


def test_other_errors_are_not_taken_for_lack_of_memory(models):
    """An error of a network that is not about memory comes out as it is."""
    folder, _ = models
    model = MegaModel.from_recipe(folder, ensemble(runs=["fpn"]))

    class Broken(nn.Module):
        def forward(self, x):
            raise RuntimeError("a shape is wrong")

    model._seating.seats[0]._module = Broken()
    with pytest.raises(RuntimeError, match="a shape is wrong"):
        model.predict(tiles(1))


def test_graphs_fall_back(models):
    """Where a CUDA graph cannot be recorded, the network is called plainly, and it says so."""
    if torch.cuda.is_available():
        pytest.skip("this machine can record graphs")
    recorder = GraphRecorder(lambda x: 2 * x)
    assert torch.equal(recorder(torch.ones(2)), 2 * torch.ones(2))
    assert recorder.failure
    execution = Execution(cuda_graph=True)
    model = MegaModel.from_recipe(models[0], ensemble(runs=["fpn"]), execution=execution)
    assert model.notes == ["without CUDA graphs: they need a GPU, and views that stay the same"]


def test_compiling_falls_back(models, monkeypatch):
    """Where torch.compile fails, the plain network answers, and the model says why."""
    folder, _ = models

    def failing(module):
        def compiled(*_):
            raise RuntimeError("no compiler was found")

        return compiled

    monkeypatch.setattr(torch, "compile", failing)
    recipe = ensemble(runs=["fpn"])
    model = MegaModel.from_recipe(
        folder, recipe, precision="fp32", execution=Execution(compile=True)
    )
    plain = MegaModel.from_recipe(folder, recipe, precision="fp32")
    torch.testing.assert_close(model.predict(tiles(2)), plain.predict(tiles(2)))
    assert model.notes == [
        "fpn/fold_0: without torch.compile, which failed (no compiler was found)"
    ]


@pytest.fixture(scope="module")
def gated(tmp_path_factory):
    """A segmenter with a classification head that calls dark tiles empty, and one without."""
    folder = tmp_path_factory.mktemp("gated")
    write_run(folder / "plain", FPN, seeds=(1,))
    description = FPN | {"aux_params": {"classes": 2, "activation": "softmax2d"}}
    [module] = write_run(folder / "heads", description, seeds=(2,))
    return folder, module


def test_a_gate_answers_with_probability_zero(gated):
    """Tiles that the gate calls empty get probability 0, and no decoder looks at them."""
    folder, module = gated
    pixels = tiles(6) // np.arange(1, 7, dtype=np.uint8)[:, None, None, None]
    with torch.no_grad():
        _, labels = module(normalised(pixels))  # its activation is a softmax
    emptiness = labels[:, 0]
    above = float(emptiness.median())
    recipe = ensemble(runs=["plain"], gate={"runs": ["heads"], "above": above})
    model = MegaModel.from_recipe(folder, recipe, precision="fp32", batch=4)
    looked = []
    [seat] = model._tree._scales[0].models["plain"]
    seat._module.decoder.register_forward_hook(lambda *_: looked.append(len(_[1][0][0])))
    probabilities = model.predict(pixels)
    open_model = MegaModel.from_recipe(folder, ensemble(runs=["plain"]), precision="fp32")
    ungated = open_model.predict(pixels)
    empty = (emptiness > above).numpy()
    assert 0 < empty.sum() < 6
    assert (probabilities[empty] == 0).all()
    torch.testing.assert_close(probabilities[~empty], ungated[~empty])
    assert sum(looked[1:]) == (~empty).sum()  # the first was the memory plan's
    _, spread = model.predict_with_disagreement(pixels)
    assert (spread[empty] == 0).all()


def test_a_head_does_not_disturb_the_masks(gated):
    """A member with a classification head answers with its masks."""
    folder, module = gated
    pixels = tiles(2)
    model = MegaModel.from_recipe(folder, ensemble(runs=["heads"]), precision="fp32")
    with torch.no_grad():
        expected, _ = module(normalised(pixels))
    torch.testing.assert_close(model.predict(pixels), expected.sigmoid(), atol=1e-5, rtol=1e-4)


def test_a_classifier_as_gate(gated, tmp_path):
    """A classifier of timm gates; it is no member, and one that gates nothing is an error."""
    folder, _ = gated
    with torch.random.fork_rng():
        module = timm.create_model("test_resnet", num_classes=1)
    gate = tmp_path / "gate"
    gate.mkdir()
    settings = {"arch": "timm", "model_name": "test_resnet", "num_classes": 1}
    (gate / "cfg.yaml").write_text(yaml.safe_dump({"MODEL": settings}))
    nn.init.constant_(module.get_classifier().weight, 0)
    nn.init.constant_(module.get_classifier().bias, -3)
    torch.save(checkpoint(module), gate / "e1.pth")
    (tmp_path / "plain").symlink_to(folder / "plain")
    recipe = ensemble(gate={"runs": ["gate"]})
    model = MegaModel.from_recipe(tmp_path, recipe)
    assert [member.name for member in model.members] == ["plain/fold_0"]
    assert model.predict(tiles(2)).max() == 0
    with pytest.raises(CheckpointError, match="gate/0: this is a classifier"):
        MegaModel.from_recipe(tmp_path, ensemble())


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_programs_are_members_too(tmp_path):
    """A TorchScript member answers as the network that was scripted."""
    [module] = write_run(tmp_path / "run", FPN, seeds=(1,))
    [path] = (tmp_path / "run").rglob("*.pth")
    path.unlink()
    with torch.no_grad():
        traced = torch.jit.trace(module, torch.zeros(1, 3, 64, 64))
    torch.jit.save(traced, path.with_suffix(".ts"))
    model = MegaModel.from_recipe(tmp_path, ensemble(programs=True), precision="fp32")
    pixels = tiles(2)
    expected = answer(module, normalised(pixels)).sigmoid()
    torch.testing.assert_close(model.predict(pixels), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"runs": ["gone"]}, CheckpointError, "no run matches gone"),
        ({"thresholds": [0.4, 0.5]}, RecipeError, "2 thresholds for 1"),
        ({"input": {"bands": [1], "mean": [0], "std": [1]}}, RecipeError, "takes 3 bands"),
        ({"views": "d5"}, RecipeError, "d5 is no view"),
        ({"pyramid": [{"runs": ["fpn"]}]}, RecipeError, "takes the run.*unet"),
        ({"pyramid": [{"runs": ["fpm"]}]}, RecipeError, "no run matches fpm"),
        ({"weights": {"unet/fold_7": 2}}, RecipeError, "weights name unet/fold_7"),
        ({"gate": {"runs": ["gone"]}}, CheckpointError, "no run matches gone"),
        ({"gate": {"runs": ["unet"]}}, CheckpointError, "have a classification head"),
    ],
)
def test_recipes_that_do_not_fit_their_members(models, settings, error, message):
    """A recipe that asks for what the members cannot give is refused at the start."""
    folder, _ = models
    with pytest.raises(error, match=message):
        MegaModel.from_recipe(folder, ensemble(**settings))


def test_members_of_other_classes(tmp_path):
    """Members that answer with different numbers of classes are named with their counts."""
    write_run(tmp_path / "one", FPN, seeds=(1,))
    write_run(tmp_path / "two", FPN | {"classes": 2}, seeds=(2,))
    with pytest.raises(CheckpointError, match=r"one/fold_0 1, two/fold_0 2"):
        MegaModel(tmp_path)


def test_too_few_bands_in_the_image(models):
    """An image with fewer bands than the recipe names is refused with both numbers."""
    folder, _ = models
    model = MegaModel.from_recipe(folder, ensemble(runs=["fpn"]))
    with pytest.raises(RecipeError, match="takes band 3, but the image has only 2"):
        model.predict(tiles(1, bands=2))


def test_a_gpu_that_is_not_there(models):
    """Asking for a GPU on a machine without one says so."""
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(DeviceError, match="no GPU that torch can use"):
        MegaModel(models[0], device="cuda:0")


def test_bits_paste_into_a_mask(models):
    """Packed cores, put together, are the mask of the whole image."""
    folder, _ = models
    grid = TileGrid(150, 190, core=64, pad=0)
    pixels = tiles(len(grid))
    model = MegaModel.from_recipe(folder, ensemble(runs=["fpn"]), precision="fp32")
    mask = BitMask.zeros(150, 190)
    expected = np.zeros((150, 190), np.bool_)
    for tile, bits, plain in zip(
        grid,
        model.predict_bits(pixels, list(grid), 1).result(),
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
