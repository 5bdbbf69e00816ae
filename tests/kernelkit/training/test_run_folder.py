"""The folder of a run: what is written, what inference reads from it, and what is refused."""

import html.parser
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from packaging.requirements import Requirement

import kernelkit
from kernelkit.checkpoints.trained_with import read_trained_with
from kernelkit.ensemble import MegaModel
from kernelkit.errors import RecipeError, TrainingError
from kernelkit.predict.preflight.trained import contradictions, with_trained
from kernelkit.predict.run import load_models
from kernelkit.recipe import EnsembleRecipe, Recipe
from kernelkit.training.folds import Folds
from kernelkit.training.recipe import TrainingRecipe
from kernelkit.training.run_folder import FoldFolder, begin_run, finish_run
from tests.made.own import PACKAGE, session_with, write_own
from tests.made.training_run import FOLDS, MODEL, load_training, write_trained

RADAR: dict[str, Any] = {
    "activation": "softmax",
    "input": {
        "bands": ["b1", "b2", "(b1 + b2) / 2"],
        "decibel": {"floor": 1e-8, "nodata": 0.0},
        "mean": [-17.399, -10.020, -12.108],
        "std": [6.290, 5.777, 5.795],
    },
}
SALT: dict[str, Any] = {
    "input": {"bands": [1, 1, 1], "divide": 1, "mean": [125] * 3, "std": [40] * 3},
}
SHAPES: dict[str, tuple[dict[str, Any], Any, dict[str, Any]]] = {
    "tiles of radar": (RADAR, {"core": 96, "scale": 3}, {"submitted": [1]}),
    "padded pictures": (SALT, {"whole": True, "pad": [14, 13], "fill": "reflect"}, {}),
    "resized pictures": (
        {**SALT, "pyramid": [{"size": [64, 96]}], "input": {"resample": "bicubic"}},
        "whole",
        {"classes": ["Fish", "Sugar"], "rows": "{image}_{class}"},
    ),
    "least and greatest": (
        {"input": {"minmax": {"power": 0.2}, "mean": [0.5] * 3, "std": [0.25] * 3}},
        {"core": 96},
        {},
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_recipe_that_leaves_all_out_gets_it_from_the_folder(shape: str, tmp_path: Path) -> None:
    """The filled recipe equals the one that the training went by, so its masks do too."""
    ensemble, tiles, competition = SHAPES[shape]
    training = load_training(tmp_path, ensemble, tiles, competition=competition)
    write_trained(training.runs["small"], tmp_path / "models")
    bare = "whole" if training.recipe.tiles.whole else {"core": 96}
    content = training.recipe.model_dump(mode="json", exclude_unset=True)
    content |= {"ensembles": [{"name": "one"}], "tiles": bare}
    silent = Recipe.model_validate(content)
    said = load_models(training.recipe, tmp_path / "models", "cpu")
    models = load_models(silent, tmp_path / "models", "cpu")
    filled, notes = with_trained(silent, models)
    full, none = with_trained(training.recipe, said)
    for one in (filled, full):  # the pyramid that is filled in names the run
        assert one.ensembles[0].sizes == training.recipe.ensembles[0].sizes
    pyramid = [{**part, "runs": ["*"]} for part in written(filled)["pyramid"]]
    assert {**written(filled), "pyramid": pyramid} == written(full)
    assert filled.tiles == full.tiles
    assert bool(notes) == (tiles != bare)
    assert not none
    size = (2, *(training.recipe.ensembles[0].sizes or [(96, 96)])[0])
    pixels = np.random.default_rng(0).uniform(0.1, 200, (size[0], 3, *size[1:]))
    found = [model["one"].predict(pixels.astype(np.float32)) for model in (models, said)]
    np.testing.assert_array_equal(found[0].probabilities, found[1].probabilities)


def written(recipe: Recipe) -> dict[str, Any]:
    return recipe.ensembles[0].model_dump(mode="json")


@pytest.mark.parametrize("name", TrainingRecipe.names())
def test_the_folders_of_the_packages_recipes_say_what_their_recipes_say(
    name: str, tmp_path: Path
) -> None:
    """Every run of every recipe is read back, and its values are those of the training."""
    for run in TrainingRecipe.load(name).runs.values():
        folder = begin_run(run, tmp_path, FOLDS)
        said = read_trained_with([folder])
        assert said.bands == run.input.bands
        assert (said.mean, said.std) == (run.input.mean, run.input.std)
        assert said.fill == run.tiles.fill
        assert said.scale == (None if run.tiles.whole else run.tiles.scale)
        assert said.pad == (run.tiles.pads if run.tiles.whole else None)
        assert said.size == run.size
        assert said.activation == (run.activation if run.task == "segment" else None)
        assert bool(said.decibel) == bool(run.input.decibel)


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ({"activation": "sigmoid"}, "was trained with a softmax, as .*cfg.yaml says, but"),
        ({"input": {**RADAR["input"], "decibel": {"floor": 1e-3}}}, "was trained with decibel"),
        ({"input": {**RADAR["input"], "decibel": False}}, "recipe's input has none. Correct the"),
        ({"input": {**RADAR["input"], "mean": [0.0, 0.0, 0.0]}}, "was trained with mean"),
        ({"input": {**RADAR["input"], "bands": [1, 2, 3]}}, "was trained with bands"),
        ({"input": {"minmax": {"power": 1}}}, "was trained with decibel"),
    ],
)
def test_a_recipe_that_contradicts_the_folder_is_refused(
    section: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    """The error names the file and both values."""
    ensemble, tiles, competition = SHAPES["tiles of radar"]
    training = load_training(tmp_path, ensemble, tiles, competition=competition)
    write_trained(training.runs["small"], tmp_path / "models")
    content = training.recipe.model_dump(mode="json", exclude_unset=True)
    content["ensembles"] = [{"name": "one", **ensemble, **section}]
    wanted = Recipe.model_validate(content).ensembles[0]
    with pytest.raises(RecipeError, match=problem):
        MegaModel(tmp_path / "models", recipe=wanted, device="cpu")


def test_runs_of_two_activations_are_no_ensemble(tmp_path: Path) -> None:
    """If the recipe says nothing, the folders must agree. The error names both files."""
    two = {"model": {**MODEL, "classes": 2}, "competition": {"submitted": [1]}}
    for seed, activation in enumerate(("softmax", "sigmoid"), 1):
        training = load_training(tmp_path, {"activation": activation}, {"core": 96}, **two)
        run = training.runs["small"].model_copy(update={"name": activation})
        write_trained(run, tmp_path / "models", (seed,))
    said = r"softmax/fold_0 was .*softmax/cfg.yaml says, but .*sigmoid/cfg.yaml says sigmoid"
    with pytest.raises(RecipeError, match=said):
        MegaModel(tmp_path / "models", recipe=EnsembleRecipe(name="one"), device="cpu")


def test_another_fill_of_padded_pictures_is_a_contradiction(tmp_path: Path) -> None:
    """Every picture has its pads, so the network would see others than in its training."""
    ensemble, tiles, _ = SHAPES["padded pictures"]
    training = load_training(tmp_path, ensemble, tiles)
    write_trained(training.runs["small"], tmp_path / "models")
    models = load_models(training.recipe, tmp_path / "models", "cpu")
    assert not list(contradictions(training.recipe, models["one"]))
    other = training.recipe.override(tiles={"fill": "zero"})
    [problem] = contradictions(other, models["one"])
    assert "trained with pads of reflect" in problem


def test_the_words_mean_nothing_in_files_of_other_trainings(tmp_path: Path) -> None:
    """An activation elsewhere is that of a layer, and TRAIN holds values of augmentation."""
    foreign = {"DATA": {"activation": "softmax", "decibel": {"floor": 1}, "fill": "reflect"}}
    (tmp_path / "cfg.yaml").write_text(yaml.safe_dump(foreign))
    said = read_trained_with([tmp_path])
    assert (said.activation, said.decibel, said.fill) == (None, None, None)
    own = {"KERNELKIT": {}, "DATA": {"divide": 2}, "TRAIN": {"divide": 3, "mean": [1]}}
    (tmp_path / "cfg.yaml").write_text(yaml.safe_dump(own))
    said = read_trained_with([tmp_path])
    assert (said.divide, said.mean) == (2, None)


def test_the_same_training_goes_on_in_its_folder(tmp_path: Path) -> None:
    """Nothing that was written at the beginning changes."""
    training = load_training(tmp_path, RADAR, {"core": 96}, competition={"submitted": [1]})
    run = training.runs["small"]
    folder = begin_run(run, tmp_path / "models", FOLDS)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert begin_run(run, tmp_path / "models", FOLDS) == folder
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("epochs=5", "found TRAIN.epochs 4, and this training has 5"),
        ("optimiser.lr=0.5", "found TRAIN.optimiser.lr"),
        ("model.decoder_pyramid_channels=16", "found MODEL.decoder_pyramid_channels 32"),
        ("keep=[last]", "found TRAIN.keep ['best'], and this training has ['last']"),
    ],
)
def test_other_settings_are_refused_by_their_key(change: str, problem: str, tmp_path: Path) -> None:
    """Otherwise one folder would hold checkpoints of two trainings."""
    shape = (RADAR, {"core": 96})
    more: dict[str, Any] = {"competition": {"submitted": [1]}}
    begin_run(load_training(tmp_path, *shape, **more).runs["small"], tmp_path / "models", FOLDS)
    changed = load_training(tmp_path, *shape, [change], **more).runs["small"]
    with pytest.raises(TrainingError, match=re.escape(problem)):
        begin_run(changed, tmp_path / "models", FOLDS)


def test_other_folds_are_refused(tmp_path: Path) -> None:
    """An image that validated before would be trained on."""
    run = load_training(tmp_path, SALT, {"core": 96}).runs["small"]
    folder = begin_run(run, tmp_path / "models", FOLDS)
    assert Folds.read(folder / "folds.csv") == FOLDS
    others = Folds({"a": 1, "b": 0, "c,d": 0, "e": 1}, FOLDS.groups)
    with pytest.raises(TrainingError, match=r"folds.csv: it is not the table of folds"):
        begin_run(run, tmp_path / "models", others)


def test_the_folder_names_its_code_and_versions(tmp_path: Path) -> None:
    """pip reads requirements.txt, and each version is the one that is installed."""
    run = load_training(tmp_path, SALT, {"core": 96}).runs["small"]
    folder = begin_run(run, tmp_path / "models", FOLDS)
    lines = (folder / "requirements.txt").read_text().splitlines()
    wanted = [Requirement(line) for line in lines if not line.startswith("#")]
    assert {"torch", "pytorch-lightning", "timm"} <= {one.name for one in wanted}
    assert all(one.specifier.contains(version(one.name)) for one in wanted)
    assert kernelkit.__version__ in (folder / "src/kernelkit.txt").read_text()


def test_the_folder_has_a_copy_of_code_of_ones_own(tmp_path: Path) -> None:
    """It is only kept: nothing is imported from a run folder."""
    own = write_own(tmp_path / "own")
    model = {"network": f"{PACKAGE}.model:Net", "width": 4}
    with session_with(own):
        run = load_training(tmp_path, SALT, {"core": 96}, model=model).runs["small"]
        folder = begin_run(run, tmp_path / "models", FOLDS)
    for path in (own / PACKAGE).glob("*.py"):
        assert (folder / "src" / PACKAGE / path.name).read_bytes() == path.read_bytes()


class Page(html.parser.HTMLParser):
    """The tags, pictures and texts of a page. Tags that are not closed are left open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value for key, value in attrs if key in ("src", "href") and value]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_report_is_one_file_with_curves_scores_and_pictures(tmp_path: Path) -> None:
    """It has no script and no address. What comes from outside is text."""
    run = load_training(tmp_path, SALT, {"core": 96}).runs["small"]
    folder = write_trained(run, tmp_path / "models", (1, 2))
    for number in range(2):
        fold = FoldFolder(folder, number)
        fold.add_metrics(1, {"loss": 0.9, "lr": 1e-3})
        fold.add_metrics(2, {"loss": 0.5, "lr": 1e-4, "val": (0.7, 0.8)[number], "ema": 0.75})
        (fold.pictures / "<b>&.png").write_bytes(b"not looked at")
    report = finish_run(folder)
    page = Page(report.read_text())
    assert not page.open
    assert page.tags.count("img") == 3
    assert not {"script", "link", "b"} & set(page.tags)
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert "<b>&" in page.text
    assert "Mean of the best scores: 0.9150 over 2 folds" in page.text
    assert (folder / "metrics.csv").read_text().splitlines() == [
        "fold,epoch,loss,lr,val,ema",
        "0,1,0.9,0.001,,",
        "0,2,0.5,0.0001,0.7,0.75",
        "1,1,0.9,0.001,,",
        "1,2,0.5,0.0001,0.8,0.75",
    ]


def test_a_report_of_a_run_without_numbers_says_so(tmp_path: Path) -> None:
    """A run that was only begun has a page too."""
    run = load_training(tmp_path, SALT, {"core": 96}).runs["small"]
    page = Page(finish_run(begin_run(run, tmp_path / "models", FOLDS)).read_text())
    assert "No fold has a score yet" in page.text
    assert "img" not in page.tags
