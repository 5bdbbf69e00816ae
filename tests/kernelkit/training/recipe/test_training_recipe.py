"""Training recipes: what they say, how runs differ, and what the command line changes."""

import pickle
from pathlib import Path

import pytest
import yaml

from kernelkit.errors import RecipeError
from kernelkit.training.recipe import TrainingRecipe

NAMES = TrainingRecipe.names()


@pytest.mark.parametrize("name", NAMES)
def test_every_training_recipe_of_the_package_loads(name: str) -> None:
    """Each is valid, carries its own name and is predicted by the recipe of that name."""
    recipe = TrainingRecipe.load(name)
    assert (recipe.name, recipe.recipe.name) == (name, name)


@pytest.mark.parametrize("name", NAMES)
def test_a_training_recipe_reaches_another_process_unchanged(name: str) -> None:
    """A pickled recipe equals the one that was loaded."""
    recipe = TrainingRecipe.load(name)
    assert pickle.loads(pickle.dumps(recipe)) == recipe


def test_a_run_has_what_all_share_and_what_it_says_itself() -> None:
    """Sections are merged key by key, at every depth."""
    runs = TrainingRecipe.load("hubmap").runs
    model = runs["Unet_timm-regnety_016_scse"].model
    assert (model.arch, model.encoder_name) == ("Unet", "timm-regnety_016")
    assert runs["Unet_timm-regnetx_032"].model.encoder_name == "timm-regnetx_032"
    assert len({run.optimiser for run in runs.values()}) == 1


def test_a_change_of_all_runs_wins_over_what_a_run_says() -> None:
    """`epochs=6` holds for every run, even if a run says its own epochs."""
    recipe = TrainingRecipe.load("salt", ["epochs=20"])
    assert {run.epochs for run in recipe.runs.values()} == {20}


def test_a_change_of_one_run_leaves_the_others() -> None:
    """`runs.NAME.key=value` changes that run alone."""
    recipe = TrainingRecipe.load("clouds", ["runs.fpn_b2_320x480.batch=2"])
    assert {name: run.batch for name, run in recipe.runs.items()} == {
        "unet_b2_320x480": 8,
        "unet_resnet34_320x480": 8,
        "unet_b3_640x960": 4,
        "fpn_b2_320x480": 2,
    }


def test_a_recipe_beside_the_file_predicts(tmp_path: Path) -> None:
    """A path in `predicts` begins at the folder of the training recipe."""
    own = {
        "name": "small",
        "competition": {"slug": "a-competition"},
        "tiles": {"core": 192, "pad": 32},
        "ensembles": [{"name": "one"}],
    }
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(own))
    train = {
        "name": "mine",
        "predicts": "own.yaml",
        "images": "train",
        "labels": {"rle": "train.csv"},
        "folds": {"count": 2},
        "windows": {"grid": {"around": "grid", "size": 64}},
        "model": {"arch": "Unet", "encoder_name": "resnet18"},
        "loss": {"bce": 1},
        "epochs": 1,
    }
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(train))
    recipe = TrainingRecipe.load(tmp_path / "train.yaml")
    assert recipe.recipe.name == "small"
    assert list(recipe.runs) == ["mine"]


def test_a_misspelt_change_is_named_with_the_key_that_was_meant() -> None:
    """A change is checked as the file is."""
    with pytest.raises(RecipeError, match=r"epchs does not exist. Did you mean epochs\?"):
        TrainingRecipe.load("hubmap", ["epchs=3"])
