"""Near the deadline less is asked: half of the views, folds or scales at a time."""

import pytest
import torch

from kernelkit.ensemble import MegaModel
from kernelkit.errors import RecipeError
from tests.made.ensembles import ensemble
from tests.made.networks import FPN, tiles, write_run

PYRAMID = [
    {"zoom": 0.5, "runs": ["fpn"], "weight": 1},
    {"zoom": 1, "runs": ["*"], "weight": 2},
    {"zoom": 1.5, "runs": ["unet"], "weight": 2},
]
WEIGHTS = {"unet/fold_1": 3, "unet": 2}

# What is left out, a recipe, another that gives the same with so many folds of unet, the cost left.
LESS = {
    "views": (["views"], {"views": "hubmap"}, {"views": ["identity", "rot90"]}, 3, 0.5),
    "odd views": (
        ["views"],
        {"views": ["hflip", "vflip", "rot180"]},
        {"views": ["hflip", "vflip"]},
        3,
        2 / 3,
    ),
    "views twice": (["views", "views"], {"views": "d4"}, {"views": ["identity", "hflip"]}, 3, 0.25),
    "views with weights": (
        ["views"],
        {"views": {"hflip": 1, "identity": 2, "vflip": 1, "rot180": 3}},
        {"views": {"identity": 2, "rot180": 3}},
        3,
        0.5,
    ),
    "folds of a flat merge": (
        ["folds"],
        {"weights": WEIGHTS, "merge": {"members": "mean of logits"}},
        {"weights": WEIGHTS, "merge": {"members": "mean of logits"}},
        2,
        3 / 4,
    ),
    "folds": (["folds"], {"weights": WEIGHTS}, {"weights": WEIGHTS}, 2, 3 / 4),
    "folds twice": (["folds", "folds"], {}, {}, 1, 2 / 4),
    "scales": (["scales"], {"pyramid": PYRAMID}, {"pyramid": PYRAMID[1:]}, 3, 10.75 / 11),
    "all": (
        ["views", "folds", "scales", "scales"],
        {"views": "flips", "pyramid": PYRAMID},
        {"views": ["identity", "hflip"], "pyramid": [PYRAMID[1]]},
        2,
        2 * 3 / (4 * 11),
    ),
}


@pytest.fixture(scope="module")
def by_folds(tmp_path_factory):
    """Models of two runs, one of which has so many folds."""
    folders = {}
    for folds in (1, 2, 3):
        folders[folds] = tmp_path_factory.mktemp("models")
        write_run(folders[folds] / "fpn", FPN, seeds=(5,))
        write_run(folders[folds] / "unet", FPN, seeds=(1, 2, 3)[:folds])
    return folders


@pytest.mark.parametrize("case", LESS)
def test_asked_less_is_an_ensemble_made_with_less(by_folds, case):
    """The answers and the share of the cost are those of an ensemble that has only what is left."""
    words, before, after, folds, cost = LESS[case]
    pixels = tiles(2, size=(128, 128))
    model = MegaModel(by_folds[3], recipe=ensemble(**before), precision="fp32")
    assert model.cost == 1.0
    model.predict(pixels)
    assert all(model.ask_less(word) for word in words)
    expected = MegaModel(
        by_folds[folds],
        recipe=ensemble(**after),
        precision="fp32",
    ).predict(pixels)
    torch.testing.assert_close(model.predict(pixels).probabilities, expected.probabilities)
    assert model.cost == pytest.approx(cost)


@pytest.mark.parametrize("word", ["views", "folds", "scales"])
def test_nothing_is_left_to_give(models, word):
    """With one view, one fold or one scale nothing changes, and no note is added."""
    folder, _ = models
    model = MegaModel(folder, recipe=ensemble(runs=["fpn"]))
    before = model.fingerprint
    assert not model.ask_less(word)
    assert (model.notes, model.fingerprint, model.cost) == ([], before, 1.0)


def test_rotating_views_are_one_view(models):
    """Rotating views cost one pass, so nothing is gained by asking less of them."""
    model = MegaModel(models[0], recipe=ensemble(runs=["fpn"], views="rotating"))
    assert not model.ask_less("views")


def test_asking_less_is_said_and_changes_the_fingerprint(models):
    """Each step is a note, and a mask made with less is not taken for one made with all."""
    model = MegaModel(models[0], recipe=ensemble(views="flips"))
    prints = [model.fingerprint]
    for word in ("views", "folds", "views"):
        assert model.ask_less(word)
        prints.append(model.fingerprint)
    assert len(set(prints)) == 4
    assert model.notes == [
        "the time is short: only 2 of 4 views are asked from then on",
        "the time is short: only 2 of 3 folds of a model are asked from then on",
        "the time is short: only 1 of 2 views are asked from then on",
    ]
    assert model.cost == 3 / 16
    with pytest.raises(RecipeError, match='no "seeds" to leave out. Choose "views", "folds"'):
        model.ask_less("seeds")
