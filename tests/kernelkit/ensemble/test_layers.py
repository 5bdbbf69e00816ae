"""Answers that are kept apart on the device, and what a store makes of them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernelkit.ensemble import MegaModel
from kernelkit.ensemble.layers import (
    gated_out,
    level_of,
    merge_layers,
    rounding_note,
    runs_of,
)
from kernelkit.errors import RecipeError
from kernelkit.recipe import Execution
from tests.made.ensembles import ensemble, normalised
from tests.made.networks import FPN, answer, checkpoint, tiles, write_run

CLASSES = FPN | {"classes": 3}
PYRAMID = [
    {"zoom": 1, "runs": ["fpn", "both"], "weight": 2},
    {"zoom": 0.5, "runs": ["unet", "both"]},
]
MEMBERS = (
    "both/fold_0@1",
    "fpn/fold_0",
    "fpn/fold_1",
    "both/fold_0@0.5",
    "unet/fold_0",
    "unet/fold_1",
)
MERGES = {
    "means": {},
    "votes": {"folds": "vote of probabilities", "models": "mean of probabilities"},
    "the highest": {"folds": "max of probabilities", "scales": "max of probabilities"},
    "sharpened": {"models": "tsharpen(0.5) of probabilities"},
    "sharpened flat": {"members": "tsharpen(0.5) of probabilities"},
    "logits of folds": {"folds": "mean of logits"},
    "logits of scales": {"folds": "mean of logits", "scales": "mean of logits"},
    "flat logits": {"members": "mean of logits"},
    "geometric": {"models": "gmean of probabilities"},
}


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Three runs of three classes, one of which looks at two scales. They are not very sure."""
    folder = tmp_path_factory.mktemp("three")
    networks = {
        "both": write_run(folder / "both", CLASSES, seeds=(1,)),
        "fpn": write_run(folder / "fpn", CLASSES, seeds=(2, 3)),
        "unet": write_run(folder / "unet", CLASSES, seeds=(4, 5)),
    }
    for run, modules in networks.items():
        for number, module in enumerate(modules):
            for parameter in module.segmentation_head.parameters():
                parameter.data *= 0.2
            [path] = (folder / run / f"fold_{number}").rglob("*.pth")
            torch.save(checkpoint(module), path)
    return folder, networks


def model_of(folder, **section):
    recipe = ensemble(**{"pyramid": PYRAMID, "weights": {"unet": 3, "*/fold_1": 2}, **section})
    plain = Execution(fuse_norms=False)  # half of the time of a small model
    return MegaModel(folder, recipe=recipe, precision="fp32", execution=plain)


def as_bytes(answers):
    return np.stack(answers.bytes().result())


def parted(layers, names):
    """Layers (N, L K, h, w) as (N, L, K, h, w)."""
    count, total, *size = layers.shape
    return layers.reshape(count, len(names), total // len(names), *size)


def test_layers_of_members_are_their_probabilities(three):
    """Each layer is one member's merged views at one scale, at the output's size."""
    folder, networks = three
    model = model_of(folder, views="flips", pyramid=PYRAMID[:1], runs=["fpn", "both"], weights={})
    pixels = tiles(2, size=(128, 128))
    assert model.layers("member") == ("both/fold_0", "fpn/fold_0", "fpn/fold_1")
    answers = model.predict(pixels, level="member")
    inputs = normalised(pixels)
    for number, module in enumerate([*networks["both"], *networks["fpn"]]):
        views = [
            answer(module, inputs.flip(axes)).flip(axes) for axes in ([], [-1], [-2], [-2, -1])
        ]
        expected = torch.stack(views).mean(0).sigmoid()
        found = answers.probabilities[:, 3 * number : 3 * number + 3]
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("level", ["member", "model", "ensemble"])
def test_names_say_whose_the_layers_are(three, level):
    """A run at two scales has its scale behind its name. The level can be read from the names."""
    model = model_of(three[0])
    names = {
        "member": MEMBERS,
        "model": ("both@1", "fpn", "both@0.5", "unet"),
        "ensemble": ("",),
    }[level]
    assert model.layers(level) == names
    assert level_of(names) == level
    assert model.predict(tiles(1, size=(128, 128)), level=level).probabilities.shape == (
        1,
        3 * len(names),
        128,
        128,
    )


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
@pytest.mark.parametrize("merge", MERGES)
def test_stored_layers_merge_into_the_direct_answer(three, merge, activation):
    """From bytes of either level the rest of the merge gives the answer, to their rounding."""
    model = model_of(three[0], merge=MERGES[merge], activation=activation)
    pixels = tiles(2, size=(128, 128))
    direct = model.predict(pixels).probabilities.numpy()
    for level in ("member", "model") if "members" not in MERGES[merge] else ("member",):
        names = model.layers(level)
        stored = parted(as_bytes(model.predict(pixels, level=level)), names)
        merged = np.stack([merge_layers(model.recipe, names, layers) for layers in stored])
        # half a byte decides a vote near one half, and a geometric mean is divided by its sum
        limit = {"votes": 1.0, "geometric": 2 / 255}.get(merge, 1 / 255)
        assert np.abs(merged - direct).max() <= limit, level
        assert np.mean(np.abs(merged - direct) <= 1 / 255) > 0.97, level


@pytest.mark.parametrize("phrase", ["mean of probabilities", "tsharpen(0.5) of probabilities"])
@given(seed=st.integers(0, 2**32 - 1), weights=st.lists(st.floats(0.1, 9), min_size=4, max_size=4))
def test_what_bytes_lose_lies_between_their_neighbours(phrase, seed, weights):
    """Merges grow with each answer, so the truth lies between the merges of what rounds alike."""
    random = np.random.default_rng(seed)
    truth = random.beta(0.3, 0.3, (4, 2, 5, 7))
    stored = np.rint(255 * truth).astype(np.uint8)
    runs = ("a", "b", "c", "d")
    recipe = ensemble(merge={"members": phrase}, weights=dict(zip(runs, weights, strict=True)))
    names = [f"{run}/0" for run in runs]
    merged = merge_layers(recipe, names, stored)
    half = 0.5 / 255
    power = 0.5 if "tsharpen" in phrase else 1
    lowest, highest = (
        np.average((stored / 255 + shift).clip(0, 1) ** power, axis=0, weights=weights)
        for shift in (-half, half)
    )
    assert (merged >= lowest - 1e-5).all()
    assert (merged <= highest + 1e-5).all()
    exact = np.average(truth**power, axis=0, weights=weights)
    assert (exact >= lowest - 1e-9).all()
    assert (exact <= highest + 1e-9).all()


@pytest.mark.parametrize("merge", ["means", "sharpened", "sharpened flat", "logits of folds"])
def test_a_variant_merges_the_runs_that_it_names(three, merge):
    """Layers of some runs give what an ensemble of these runs gives."""
    model = model_of(three[0], merge=MERGES[merge])
    pixels = tiles(1, size=(128, 128))
    names = model.layers("member")
    stored = parted(as_bytes(model.predict(pixels, level="member")), names)[0]
    found = merge_layers(model.recipe, names, stored, runs=["un*", "both"])
    pyramid = [PYRAMID[0] | {"runs": ["both"]}, PYRAMID[1]]
    alone = model_of(three[0], merge=MERGES[merge], runs=["unet", "both"], pyramid=pyramid).predict(
        pixels
    )
    assert np.abs(found - alone.probabilities.numpy()[0]).max() <= 1 / 255


def test_bands_of_rows_are_merged_one_by_one():
    """Rows that are merged alone are those of the whole, in the same bits."""
    recipe = ensemble(merge={"members": "mean of logits"}, activation="softmax")
    random = np.random.default_rng(0)
    layers = random.integers(0, 256, (3, 2, 150, 170), dtype=np.uint8)
    names = ["a/0", "a/1", "b/0"]
    whole = merge_layers(recipe, names, layers)
    bands = [merge_layers(recipe, names, layers[..., i : i + 50, :]) for i in (0, 50, 100)]
    assert np.array_equal(whole, np.concatenate(bands, axis=1))


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_what_a_gate_has_set_to_0_stays_0(activation):
    """Zeros of all layers are no likeliest class, and no 1/1020, though logits are merged."""
    recipe = ensemble(merge={"members": "mean of logits"}, activation=activation)
    layers = np.full((2, 2, 4, 4), 128, np.uint8)
    layers[..., :2, :] = 0
    merged = merge_layers(recipe, ["a/0", "b/0"], layers)
    assert (merged[:, :2] == 0).all()
    assert (merged[:, 2:] > 0.4).all()


def test_a_stored_gate_empties_pictures_and_classes():
    """What the gate calls empty is 0. Without the gate's answer nothing is."""
    recipe = ensemble(gate={"runs": ["g"], "above": 0.6})
    layers = np.full((1, 2, 3, 3), 255, np.uint8)
    empty, full = np.float32(0.61), np.float32(0.6)
    assert merge_layers(recipe, [""], layers, gate=empty).max() == 0
    assert merge_layers(recipe, [""], layers, gate=np.array([empty])).max() == 0
    assert merge_layers(recipe, [""], layers, gate=full).min() == 1
    assert merge_layers(recipe, [""], layers).min() == 1
    by_class = merge_layers(recipe, [""], layers, gate=np.array([full, empty]))
    assert by_class.max((1, 2)).tolist() == [1, 0]
    assert gated_out(recipe, np.array([full, empty])).tolist() == [False, True]
    assert not gated_out(ensemble(), np.array([1.0])).any()


def test_stored_runs_are_known_by_their_layers():
    """Labels of scales and names of members are taken off. An @ in a run's name is its own."""
    recipe = ensemble(pyramid=[{"zoom": 1}, {"zoom": 0.5, "runs": ["a*"]}])
    names = ["a/fold_0/e1@0.5", "a/fold_0/e1@1", "b@2/0", "b@2/1"]
    assert runs_of(recipe, names) == ["a", "a", "b@2", "b@2"]


def test_what_bytes_cannot_follow_is_said():
    """Above the level, merges of logits and geometric means have a note, and others have none."""
    recipe = ensemble(merge={"folds": "mean of logits"})
    assert "stored probabilities are merged by mean of logits" in rounding_note(recipe, "member")
    assert rounding_note(recipe, "model") is None
    assert rounding_note(ensemble(merge={"views": "mean of logits"}), "member") is None
    assert "gmean" in rounding_note(ensemble(merge={"members": "gmean of probabilities"}), "member")
    assert rounding_note(ensemble(merge={"members": "mean of logits"}), "ensemble") is None


@pytest.mark.parametrize(
    ("section", "names", "runs", "message"),
    [
        ({}, ["a/0", "b/0"], ["c*"], r"no stored run matches c\* \(there are a, b\)"),
        (
            {},
            [""],
            ["a"],
            r"one answer of the whole ensemble, which cannot be parted into the runs",
        ),
        ({"pyramid": [{"runs": ["a"]}]}, ["a/0", "b/0"], None, r"an answer of b/0, which no scale"),
    ],
)
def test_layers_that_cannot_be_merged(section, names, runs, message):
    """What is stored is said, and what was asked for."""
    layers = np.zeros((len(names), 1, 2, 2), np.uint8)
    with pytest.raises(RecipeError, match=message):
        merge_layers(ensemble(**section), names, layers, runs=runs)


def test_a_flat_merge_has_no_models(three):
    """The level is refused before anything is asked, and before anything is ready."""
    model = model_of(three[0], merge={"members": "mean of logits"})
    for call in (model.layers, lambda level: model.predict(tiles(1, size=(128, 128)), level=level)):
        with pytest.raises(RecipeError, match="so there is no answer per model"):
            call("model")


def test_fingerprints_of_layers_leave_out_what_merges_them(three):
    """Steps and weights above a level change no stored byte. What is below it does."""
    folder, _ = three
    plain = model_of(folder, weights={})
    changes = {
        "other weights": {"weights": {"unet": 3}},
        "other models": {"weights": {}, "merge": {"models": "max of probabilities"}},
        "other folds": {"weights": {}, "merge": {"folds": "max of probabilities"}},
        "other views": {"weights": {}, "merge": {"views": "mean of probabilities"}},
        "other scales": {"weights": {}, "pyramid": [PYRAMID[0], PYRAMID[1] | {"weight": 5}]},
    }
    models = {name: model_of(folder, **change) for name, change in changes.items()}
    same = {
        level: [
            name
            for name, model in models.items()
            if model.fingerprint_at(level) == plain.fingerprint_at(level)
        ]
        for level in ("member", "model", "ensemble")
    }
    assert same == {
        "member": ["other weights", "other models", "other folds", "other scales"],
        "model": ["other models", "other scales"],
        "ensemble": [],
    }
    assert plain.fingerprint == plain.fingerprint_at("ensemble")
