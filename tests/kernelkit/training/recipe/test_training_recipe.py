"""Training recipes: what they say, how runs differ, and what the command line changes."""

import pickle
from importlib import resources
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
    """`epochs=12` holds for every run, even if a run says its own epochs."""
    recipe = TrainingRecipe.load("salt", ["epochs=12"])
    assert {run.epochs for run in recipe.runs.values()} == {12}


def test_a_change_of_one_run_leaves_the_others() -> None:
    """`runs.NAME.key=value` changes that run alone."""
    before = TrainingRecipe.load("clouds").runs
    after = TrainingRecipe.load("clouds", ["runs.fpn_effb2_320x480.batch=2"]).runs
    assert {name for name in before if before[name] != after[name]} == {"fpn_effb2_320x480"}
    assert after["fpn_effb2_320x480"].batch == 2


def test_the_last_of_two_changes_wins() -> None:
    """They are applied in their order, whether of one run or of all."""
    changes = ["runs.seg-unet.batch=2", "batch=3", "runs.nmc-resnet18.batch=4"]
    runs = TrainingRecipe.load("salt", changes).runs
    assert {name: run.batch for name, run in runs.items()} == {"seg-unet": 3, "nmc-resnet18": 4}


def test_a_change_may_be_a_whole_section() -> None:
    """Its keys are merged into the section's own, as those of a run are."""
    change = "schedule={min_lr: 1.0e-6, warmup: 0.1}"
    for run in TrainingRecipe.load("hubmap", [change]).runs.values():
        schedule = run.schedule
        assert (schedule.min_lr, schedule.warmup, schedule.warmup_lr) == (1e-6, 0.1, 2e-5)


@pytest.mark.parametrize(
    ("change", "weight", "smooth"),
    [
        ("loss.bce=2", 2, 0.1),
        ("loss.bce.weight=3", 3, 0.1),
        ("loss.bce={smooth: 0.2}", 0.5, 0.2),
        ("loss.bce.smooth=0.3", 0.5, 0.3),
    ],
)
def test_a_bare_number_is_merged_as_the_weight(change: str, weight: float, smooth: float) -> None:
    """Whether a weight was written alone or among others, nothing else changes."""
    for before in ("loss.bce={weight: 0.5, smooth: 0.1}", "loss.bce=0.5"):
        (run, *_) = TrainingRecipe.load("hubmap", [before, change]).runs.values()
        assert run.loss.bce is not None
        had = "smooth" in before or "smooth" in change
        assert (run.loss.bce.weight, run.loss.bce.smooth) == (weight, smooth if had else 0)


def test_a_crop_of_a_bare_size_keeps_where_it_lies() -> None:
    """`crop=256` changes the size alone."""
    (run, *_) = TrainingRecipe.load("hubmap", ["crop=256"]).runs.values()
    assert run.crop is not None
    assert (run.crop.size, run.crop.random) == (256, 0.8)


def test_a_change_of_the_recipe_that_predicts_comes_first(tmp_path: Path) -> None:
    """All runs are checked against the new one."""
    own = yaml.safe_load(resources.files("kernelkit").joinpath("recipe/hubmap.yaml").read_bytes())
    own["tiles"]["scale"] = 2
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(own))
    recipe = TrainingRecipe.load("hubmap", [f"predicts={tmp_path / 'other.yaml'}"])
    assert {run.scale for run in recipe.runs.values()} == {2}


def test_hubmap_is_what_the_second_place_trained() -> None:
    """Windows, crops, loss, optimiser and schedule are those of the published training."""
    recipe = TrainingRecipe.load("hubmap")
    assert len(recipe.runs) == 4
    for run in recipe.runs.values():
        assert (run.scale, run.window_size, run.crop_size) == (3, (1024, 1024), (512, 512))
        assert set(run.loss.terms) == {"bce", "dice"}
        optimiser = run.optimiser
        assert (optimiser.name, optimiser.lr, optimiser.weight_decay) == ("adamw", 8e-4, 1e-3)
        assert optimiser.amsgrad
        assert (run.batch, run.ema, run.precision) == (16, 0.995, "fp32")
        assert run.validate_ is not None
        assert (run.validate_.every, run.validate_.floor) == (2, 0.9)
        assert run.folds.lists is not None
        assert [len(fold) for fold in run.folds.lists] == [2, 2, 2, 2]
        assert (run.outputs, run.activation) == (1, "sigmoid")


def test_clouds_are_seen_at_the_size_in_the_name_of_each_run() -> None:
    """The recipe that predicts says which run looks at which size."""
    runs = TrainingRecipe.load("clouds").runs
    sizes = {name: run.size for name, run in runs.items()}
    assert sizes["fpn_effb2_320x480"] == sizes["unet_resnet34_320x480"] == (320, 480)
    assert sizes["fpn_effb2_640x960"] == sizes["unet_effb2_640x960"] == (640, 960)
    assert {run.outputs for run in runs.values()} == {4}
    assert {run.keep for run in runs.values()} == {("best", "last")}


def test_salt_trains_a_gate_with_snapshots_and_a_segmenter_of_what_it_keeps() -> None:
    """A snapshot is taken at the end of each period of ten epochs."""
    gate, segmenter = TrainingRecipe.load("salt").runs.values()
    assert (gate.task, gate.outputs, gate.snapshot_epochs) == ("classify", 2, (10, 20, 30, 40))
    assert gate.keep == segmenter.keep == ()
    assert gate.validate_ is not None
    assert gate.validate_.metric == "accuracy"
    assert segmenter.sources["whole"].target is True
    assert (segmenter.activation, segmenter.outputs) == ("softmax", 2)
    assert segmenter.tiles.pads == (14, 13)
    assert segmenter.input.bands == (1, 1, 1)


def test_unosat_learns_from_decibels_of_two_bands() -> None:
    """The input is that of the recipe that predicts, and the class 0 is the background."""
    run = TrainingRecipe.load("unosat").runs["fpn_se_resnext50"]
    assert run.input.decibel
    assert run.competition.bands == ("vh", "vv")
    assert (run.outputs, run.class_numbers, run.nodata) == (2, (1,), "background")
    assert run.loss.ce is not None
    assert run.loss.ce.class_weights == (0.75, 1.5)


@pytest.mark.parametrize("name", NAMES)
def test_the_training_images_stand_in_for_those_of_the_test(name: str) -> None:
    """All else about the competition is as in the recipe that predicts."""
    recipe = TrainingRecipe.load(name)
    for run in recipe.runs.values():
        wanted = recipe.recipe.competition.model_copy(update={"images": run.images})
        assert run.competition == wanted
        assert run.images != recipe.recipe.competition.images


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_is_described_with_a_line_per_run(name: str) -> None:
    """The table has a head, and each run with its network and what it sees."""
    recipe = TrainingRecipe.load(name)
    about, predicts, head, *rows = recipe.describe().split("\n")
    assert about == f"{name}: {recipe.summary}"
    assert predicts == f"predicted by {name}"
    assert head.split()[:3] == ["run", "task", "network"]
    assert [row.split()[0] for row in rows] == list(recipe.runs)
    for row, run in zip(rows, recipe.runs.values(), strict=True):
        assert str(run.model) in row
        assert f"{run.batch * run.accumulate} x " in row


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
