"""In which order views, folds, models and scales are merged, and what goes in."""

import functools

import numpy as np
import pytest
import torch
from torch import nn

from kernelkit.ensemble import MegaModel
from kernelkit.errors import NetworkError, RecipeError
from tests.made.ensembles import MEAN, STD, dice, ensemble, normalised, sequential
from tests.made.networks import FPN, answer, tiles, write_run


def test_the_readmes_call(models):
    """`MegaModel(folder, threshold, averaging_mode)` merges folds, and then models, by the mean."""
    folder, networks = models
    pixels = tiles(3)
    model = MegaModel(folder, threshold=0.4, averaging_mode="mean", precision="fp32")
    logits = sequential(networks, pixels)
    expected = torch.stack(
        [torch.stack([view.sigmoid() for [view] in folds]).mean(0) for folds in logits.values()]
    ).mean(0)
    torch.testing.assert_close(model.predict(pixels).probabilities, expected, atol=1e-5, rtol=1e-4)
    masks = model.preprocess_and_infer(pixels)
    assert masks.dtype == np.bool_
    assert masks.shape == (3, 1, 64, 64)
    assert dice(masks, expected.numpy() > 0.4) > 0.999


def test_the_readmes_preprocess_fn(models):
    """`preprocess_fn` gets the raw tiles on the device, and networks see its answer."""
    folder, _ = models
    pixels = tiles(2)
    seen = []

    def by_hand(batch):
        seen.append(batch.dtype)
        values = batch.float() / 255
        return (values - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]

    model = MegaModel(folder, preprocess_fn=by_hand, precision="fp32")
    plain = MegaModel(folder, precision="fp32")
    torch.testing.assert_close(
        model.predict(pixels).probabilities, plain.predict(pixels).probabilities
    )
    assert set(seen) == {torch.uint8}
    assert model.fingerprint != plain.fingerprint


@pytest.mark.parametrize(
    ("preprocess_fn", "found"),
    [
        (lambda tiles: tiles, r"it gave torch.uint8 \(1, 3, 64, 64\)"),
        (lambda tiles: tiles.float()[:1], r"it gave torch.float32 \(1, 3, 64, 64\)"),
        (lambda tiles: tiles.float()[..., ::2], r"it gave torch.float32 \(1, 3, 64, 32\)"),
        (lambda tiles: tiles.float().mean(1), r"it gave torch.float32 \(1, 64, 64\)"),
        (lambda tiles: tiles.float().numpy(), "it gave a value of type ndarray"),
        (lambda tiles: tiles.float()[:, :1], "looks at 3 channel.s., but it was given 1"),
    ],
)
def test_what_a_preprocess_fn_gives_is_checked(models, preprocess_fn, found):
    """It is what networks look at: one float image of the tile's size per tile, in channels."""
    model = MegaModel(models[0], preprocess_fn=preprocess_fn)
    with pytest.raises((RecipeError, NetworkError), match=found):
        model.predict(tiles(2))


def test_a_preprocess_fn_may_be_any_function(models):
    """A partial and a network have a fingerprint of their values, too."""
    functions = [functools.partial(torch.mul, other=by) for by in (0.1, 0.2)]
    prints = {MegaModel(models[0], preprocess_fn=each).fingerprint for each in functions}
    assert len(prints) == 2


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
    """HuBMAP: the mean of logits over 4 views, then of probabilities over folds and models."""
    folder, networks = models
    pixels = tiles(2, size=(64, 96))
    model = MegaModel(folder, recipe=ensemble(views="hubmap"), precision="fp32")
    logits = sequential(networks, pixels, HUBMAP_TURNS, HUBMAP_BACKS)
    runs = [
        torch.stack([torch.stack(views).mean(0).sigmoid() for views in folds]).mean(0)
        for folds in logits.values()
    ]
    expected = torch.stack(runs).mean(0)
    torch.testing.assert_close(model.predict(pixels).probabilities, expected, atol=1e-5, rtol=1e-4)


def test_the_clouds_order(models):
    """Clouds: flips merged by the mean, models by that of p^0.5, and sizes by their weight."""
    folder, networks = models
    pixels = tiles(2, size=(64, 128))
    recipe = ensemble(
        views=["identity", "hflip"],
        merge={
            "views": "mean of probabilities",
            "folds": "mean of probabilities",
            "models": "tsharpen(0.5) of probabilities",
            "scales": "mean of probabilities",
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
    expected = (small + 3 * large) / 4
    model = MegaModel(folder, recipe=recipe, precision="fp32")
    torch.testing.assert_close(model.predict(pixels).probabilities, expected, atol=1e-5, rtol=1e-4)


def test_the_unosat_order(tmp_path):
    """UNOSAT: dB input of two classes, the mean of logits over 4 rotations, then softmax."""
    description = FPN | {"classes": 2}
    [module] = write_run(tmp_path / "run", description, seeds=(3,))
    pixels = np.random.default_rng(0).gamma(1, 0.05, (2, 3, 64, 64)).astype(np.float32)
    pixels[0, :, :9] = 0  # ortho-rectification leaves such pixels without data
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
    model = MegaModel(tmp_path, recipe=recipe, precision="fp32")
    torch.testing.assert_close(model.predict(pixels).probabilities, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("how", ["mean of logits", "mean of probabilities"])
def test_views_are_merged_by_their_weights(models, how):
    """`{identity: 2, hflip: 1}` counts the tile as it is twice."""
    folder, networks = models
    pixels = tiles(2)
    recipe = ensemble(runs=["fpn"], views={"identity": 2, "hflip": 1}, merge={"views": how})
    [module] = networks["fpn"]
    inputs = normalised(pixels)
    seen, mirrored = answer(module, inputs), answer(module, inputs.flip(-1)).flip(-1)
    if how == "mean of logits":
        expected = ((2 * seen + mirrored) / 3).sigmoid()
    else:
        expected = (2 * seen.sigmoid() + mirrored.sigmoid()) / 3
    model = MegaModel(folder, recipe=recipe, precision="fp32")
    torch.testing.assert_close(model.predict(pixels).probabilities, expected, atol=1e-5, rtol=1e-4)


def test_a_flat_merge_counts_every_member_once(models):
    """`merge.members` merges all members of all runs and scales, without levels between."""
    folder, networks = models
    pixels = tiles(2)
    recipe = ensemble(merge={"views": "mean of logits", "members": "mean of logits"})
    views = [view for folds in sequential(networks, pixels).values() for [view] in folds]
    model = MegaModel(folder, recipe=recipe, precision="fp32")
    torch.testing.assert_close(
        model.predict(pixels).probabilities,
        torch.stack(views).mean(0).sigmoid(),
        atol=1e-5,
        rtol=1e-4,
    )


def test_weights_by_run_and_by_fold(models):
    """Weights by patterns of runs and members give weighted means of models and folds."""
    folder, networks = models
    pixels = tiles(2)
    recipe = ensemble(weights={"*/fold_0": 2, "unet": 0.5})
    logits = sequential(networks, pixels)
    folds = [view.sigmoid() for [view] in logits["unet"]]
    unet = (2 * folds[0] + folds[1] + folds[2]) / 4
    expected = (logits["fpn"][0][0].sigmoid() + 0.5 * unet) / 1.5
    model = MegaModel(folder, recipe=recipe, precision="fp32")
    torch.testing.assert_close(model.predict(pixels).probabilities, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("size", [(64, 64), (50, 70), (33, 31)])
def test_sides_that_no_stride_divides(models, size):
    """Tiles of any size are padded for the networks and cut again, and the inside agrees."""
    folder, networks = models
    pixels = tiles(1, size=size)
    model = MegaModel(folder, recipe=ensemble(runs=["fpn"]), precision="fp32")
    probabilities = model.predict(pixels).probabilities
    assert probabilities.shape == (1, 1, *size)
    padded = np.pad(pixels, ((0, 0), (0, 0), (0, -size[0] % 32), (0, -size[1] % 32)), mode="edge")
    expected = answer(networks["fpn"][0], normalised(padded)).sigmoid()
    torch.testing.assert_close(probabilities, expected[..., : size[0], : size[1]])


def test_rotating_views_follow_the_index(models):
    """With rotating views a tile is seen in the view of its own index, in any batch."""
    folder, _ = models
    pixels = tiles(5)
    recipe = ensemble(runs=["fpn"], views="rotating")
    model = MegaModel(folder, recipe=recipe, precision="fp32", batch=2)
    by_index = model.predict(pixels, indices=[0, 1, 2, 3, 4]).probabilities
    single = [model.predict(pixels[i : i + 1], indices=[i]).probabilities for i in range(5)]
    torch.testing.assert_close(by_index, torch.cat(single))
    still = MegaModel(folder, recipe=ensemble(runs=["fpn"]), precision="fp32")
    assert torch.equal(by_index[0], still.predict(pixels).probabilities[0])
    assert not torch.allclose(by_index[1], still.predict(pixels).probabilities[1])


@pytest.mark.parametrize(
    ("dtype", "divide"), [("uint16", 65535.0), ("int16", 255.0), ("float32", 1.0)]
)
def test_other_sources(tmp_path, dtype, divide):
    """One band of another dtype is converted on the device, also values above 32767."""
    description = FPN | {"in_channels": 1}
    [module] = write_run(tmp_path / "run", description, seeds=(1,))
    pixels = (np.random.default_rng(0).random((2, 2, 64, 64)) * divide).astype(dtype)
    second_band = {"bands": [2], "divide": divide, "mean": [0.4], "std": [0.2]}
    model = MegaModel(tmp_path, recipe=ensemble(input=second_band), precision="fp32")
    inputs = (pixels[:, 1:].astype(np.float32) / np.float32(divide) - 0.4) / 0.2
    expected = answer(module, torch.from_numpy(inputs.astype(np.float32))).sigmoid()
    torch.testing.assert_close(model.predict(pixels).probabilities, expected, atol=1e-5, rtol=1e-4)


def test_tiles_may_come_as_a_list_and_stay_untouched(models):
    """A list of read-only tiles gives the same as an array, and no tile is changed."""
    folder, _ = models
    pixels = tiles(3)
    kept = pixels.copy()
    listed = list(pixels)
    for tile in listed:
        tile.flags.writeable = False
    model = MegaModel(folder, recipe=ensemble(runs=["fpn"]))
    assert torch.equal(model.predict(listed).probabilities, model.predict(pixels).probabilities)
    pixels.flags.writeable = False
    model.predict(pixels)
    assert np.array_equal(pixels, kept)


def test_the_fingerprint_follows_what_the_answers_depend_on(models):
    """Another member, another way to ask or another precision is another fingerprint."""
    folder, _ = models
    prints = {
        MegaModel(
            folder, recipe=ensemble(**{"runs": ["unet"], **changes}), precision=precision
        ).fingerprint
        for changes, precision in [
            ({}, "fp32"),
            ({}, "bf16"),
            ({"runs": ["fpn"]}, "fp32"),
            ({"runs": ["fpn"], "views": "flips"}, "fp32"),
        ]
    }
    assert len(prints) == 4


def test_the_fingerprint_leaves_out_what_comes_after_the_answers(models):
    """Another name, threshold or postprocess step does not change the fingerprint."""
    folder, _ = models
    prints = {
        MegaModel(folder, recipe=ensemble(runs=["fpn"], **changes)).fingerprint
        for changes in [
            {},
            {"name": "other"},
            {"thresholds": 0.4},
            {"postprocess": ["fill_holes"]},
        ]
    }
    assert len(prints) == 1


def test_the_fingerprint_follows_the_names_of_runs(tmp_path):
    """The same weights as two runs or as two folds are merged otherwise: another fingerprint."""
    write_run(tmp_path / "folds/a", FPN, seeds=(1, 2))
    for name, seed in (("a", 1), ("b", 2)):
        write_run(tmp_path / "runs" / name, FPN, seeds=(seed,))
    folds, runs = (MegaModel(tmp_path / name) for name in ("folds", "runs"))
    assert [m.weights_sha256 for m in folds.members] == [m.weights_sha256 for m in runs.members]
    assert folds.fingerprint != runs.fingerprint


def test_the_averaging_mode_replaces_a_flat_merge(models):
    """Given beside a recipe that merges all at once, it is how all are merged."""
    recipe = ensemble(runs=["fpn"], merge={"members": "mean of logits"})
    model = MegaModel(models[0], averaging_mode="max", recipe=recipe)
    assert {name: str(step) for name, step in model.recipe.merge.steps.items()} == {
        "views": "mean of logits",
        "members": "max of probabilities",
    }


def test_threshold_and_averaging_mode_replace_the_recipes(models):
    """Given beside a recipe they win, and its views and everything else stay."""
    folder, _ = models
    recipe = ensemble(runs=["fpn"], views="flips", thresholds=0.7)
    model = MegaModel(folder, 0.4, "max", recipe=recipe)
    assert model.recipe.thresholds == (0.4,)
    assert str(model.recipe.merge.folds) == str(model.recipe.merge.models) == "max of probabilities"
    assert (model.recipe.views, model.recipe.merge.views) == (recipe.views, recipe.merge.views)
    assert MegaModel(folder, recipe=recipe).recipe == recipe


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"threshold": 30}, "the threshold is 30. Give a number between 0 and 1"),
        ({"averaging_mode": "median"}, 'no averaging mode "median". Choose "mean"'),
        ({"averaging_mode": "tsharpen"}, '"tsharpen" needs a temperature'),
        ({"precision": "fp8"}, 'no precision "fp8". Choose "auto"'),
    ],
)
def test_arguments_that_make_no_sense(models, arguments, error):
    """A wrong threshold, averaging mode or precision is refused with the choices."""
    with pytest.raises(RecipeError, match=error):
        MegaModel(models[0], **arguments)


def test_the_table_has_one_row_per_member(models):
    """`describe` gives each member's network, size, place, score and checkpoint."""
    folder, networks = models
    rows = MegaModel(folder, recipe=ensemble()).describe()
    assert [row["member"] for row in rows] == [
        "fpn/fold_0",
        "unet/fold_0",
        "unet/fold_1",
        "unet/fold_2",
    ]
    assert rows[0]["parameters"] == sum(p.numel() for p in networks["fpn"][0].parameters())
    assert rows[1]["checkpoint"] == "e2_t4_cmax_ema_0.91.pth"
    assert {row["place"] for row in rows} == {"cpu"}
