"""Several checkpoints of a fold in one ensemble: merged, weighed, left out and told apart."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from kernelkit.ensemble import MegaModel
from tests.made.ensembles import ensemble, normalised
from tests.made.networks import FPN, answer, network, tiles, write_fold

PIXELS = tiles(2)
SEEDS = {"fold_0": (1, 2), "fold_1": (3,)}


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A run of which fold 0 has two checkpoints, and fold 1 one."""
    run = tmp_path / "unet"
    for fold, seeds in SEEDS.items():
        for epoch, seed in enumerate(seeds, 1):
            write_fold(
                run / fold / "models", network(FPN, seed), f"e{epoch}_val_0.9{5 - epoch}.pth"
            )
    (run / "cfg.yaml").write_text(yaml.safe_dump({"MODEL": FPN}))
    return tmp_path


def load(models: Path, **section) -> MegaModel:
    return MegaModel(models, recipe=ensemble(**section), device="cpu", precision="fp32")


def expected(weights: list[float], seeds: tuple[int, ...] = (1, 2, 3)) -> np.ndarray:
    """The weighted mean of single networks' probabilities."""
    inputs = normalised(PIXELS)
    answers = [answer(network(FPN, seed), inputs).sigmoid() for seed in seeds]
    total = sum(w * a for w, a in zip(weights, answers, strict=True))
    return (total / sum(weights)).numpy()


def predicted(model: MegaModel) -> np.ndarray:
    return model.predict(PIXELS).probabilities.numpy()


def test_checkpoints_count_as_members_beside_the_folds(models):
    """A fold of two checkpoints weighs twice in the mean of the folds."""
    model = load(models, checkpoints=["best", "last"])
    names = ("unet/fold_0/e1_val_0.94", "unet/fold_0/e2_val_0.93", "unet/fold_1")
    assert model.layers("member") == names
    assert np.allclose(predicted(model), expected([1, 1, 1]), atol=1e-5)


def test_a_weight_of_a_fold_is_that_of_its_checkpoints(models):
    """A pattern for one checkpoint may come before it."""
    model = load(models, checkpoints="all", weights={"*/e2_*": 3, "*/fold_0": 2})
    assert np.allclose(predicted(model), expected([2, 3, 1]), atol=1e-5)


def test_fewer_folds_are_fewer_of_the_members(models):
    """They are left out from the end, and come back."""
    model = load(models, checkpoints="all")
    before = model.fingerprint
    assert model.ask_less("folds")
    assert np.allclose(predicted(model), expected([1, 1], (1, 2)), atol=1e-5)
    assert model.fingerprint != before
    assert "2 of 3 folds of a model" in model.notes[-1]
    model.ask_all()
    assert model.fingerprint == before


def test_the_fingerprint_says_which_checkpoints_answer(models):
    """Other checkpoints of the same folds give other masks."""
    kinds = ("best", "last", "all", ["best", "last"])
    prints = [load(models, checkpoints=kind).fingerprint for kind in kinds]
    assert len(set(prints)) == len(prints)


def test_the_memory_plan_counts_each_checkpoint(models):
    """Each has a row of its own in the plan."""
    plan = load(models, checkpoints="all").plan((3, 64, 64))
    assert all(name in str(plan) for name in ("unet/fold_0/e1", "unet/fold_0/e2", "unet/fold_1"))
    with torch.no_grad():
        rows = load(models, checkpoints="all").describe()
    assert [row["checkpoint"] for row in rows] == [
        "e1_val_0.94.pth",
        "e2_val_0.93.pth",
        "e1_val_0.94.pth",
    ]
