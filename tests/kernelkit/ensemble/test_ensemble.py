"""In which order views, folds, models and scales are merged, and what goes in."""

import numpy as np
import pytest
import torch
from torch import nn

from kernelkit.ensemble import MegaModel
from tests.made.ensembles import MEAN, STD, dice, ensemble, normalised, sequential
from tests.made.networks import FPN, answer, tiles, write_run


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
