import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from kernelkit.checkpoints import load_members
from kernelkit.competition import CompetitionFolder
from kernelkit.errors import RecipeError, TrainingError
from kernelkit.mask import BitMask
from kernelkit.predict import load_models, predict
from kernelkit.recipe import Recipe
from kernelkit.training.fold_result import FoldResult
from kernelkit.training.recipe import TrainingRecipe
from kernelkit.training.train import train
from tests.made.squares import write_squares


@dataclass(frozen=True)
class Trained:
    """A training that was done once for all tests below."""

    folder: Path
    competition: Path
    results: list[FoldResult]
    said: list[str]

    def again(
        self,
        *changes: str,
        folds: tuple[int, ...] = (),
        devices: str = "auto",
        output: str = "models",
    ) -> list[FoldResult]:
        self.said.clear()
        recipe = TrainingRecipe.load(self.folder / "train.yaml", changes)
        return train(
            recipe,
            self.competition,
            self.folder / output,
            cuts=self.folder / "cuts",
            folds=folds,
            devices=devices,
            progress=False,
            say=self.said.append,
        )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("squares")
    competition = write_squares(folder)
    results = Trained(folder, competition, [], []).again()
    return Trained(folder, competition, results, [])


def test_its_folds_are_the_members_of_an_ensemble(trained: Trained) -> None:
    """Inference finds two networks with the scores that the training reports."""
    members = load_members(trained.folder / "models")
    assert [member.name for member in members] == ["squares/fold_0", "squares/fold_1"]
    for member, result in zip(members, trained.results, strict=True):
        assert result.score is not None
        assert member.score == pytest.approx(result.score, abs=5e-5)
        assert member.path.name == result.checkpoint
        assert member.trained_with.scale == 2


def test_a_run_folder_predicts_what_its_recipe_leaves_out(trained: Trained, tmp_path: Path) -> None:
    """Mean and std were found in the training windows, and the recipe has none."""
    recipe = Recipe.load(trained.folder / "squares.yaml")
    folder = CompetitionFolder.read(trained.competition, recipe.competition)
    models = load_models(recipe, trained.folder / "models")
    done = predict(folder, recipe, models, tmp_path / "out")
    [mask] = done.masks["unknown"]
    truth = BitMask.from_array(_bright(trained.competition / "test" / "unknown.tif"))
    assert mask.dice(truth) > 0.7
    config = yaml.safe_load((trained.folder / "models" / "squares" / "cfg.yaml").read_text())
    assert models["squares"].recipe.input.mean == tuple(config["DATA"]["mean"])


def _bright(path: Path) -> np.ndarray:
    import rasterio

    with rasterio.open(path) as file:
        return np.asarray(file.read().mean(0) > 110)


def test_finished_folds_are_not_trained_again(trained: Trained) -> None:
    """The same command gives the same results, and no file changes."""
    files = {p: p.stat().st_mtime_ns for p in trained.folder.glob("models/*/fold_*/models/*")}
    again = trained.again()
    assert [one.is_old for one in again] == [True, True]
    assert [one.score for one in again] == [one.score for one in trained.results]
    assert {p: p.stat().st_mtime_ns for p in files} == files


@pytest.mark.parametrize("folds", [(), (0,)])
def test_trained_folds_of_another_recipe_stay(trained: Trained, folds: tuple[int, ...]) -> None:
    """All or one of them with other settings are refused, and no file changes."""
    files = {p: p.stat().st_mtime_ns for p in trained.folder.glob("models/squares/**/*")}
    with pytest.raises(TrainingError, match=r"\(fold_0, fold_1\).* epochs was 2 and is 1\. Choose"):
        trained.again("epochs=1", folds=folds)
    assert {p: p.stat().st_mtime_ns for p in trained.folder.glob("models/squares/**/*")} == files


def test_unknown_runs_and_folds_are_named(trained: Trained) -> None:
    """The sentence says which there are."""
    with pytest.raises(TrainingError, match="found fold 7, wanted one of 0 to 1"):
        trained.again(folds=(7,))
    recipe = TrainingRecipe.load(trained.folder / "train.yaml")
    with pytest.raises(RecipeError, match="there is no run rounds. Name one of squares"):
        train(recipe, trained.competition, trained.folder, cuts=trained.folder, runs=["rounds"])


def test_a_run_folder_has_numbers_pictures_and_a_report(trained: Trained) -> None:
    """Each fold has its curve, strips of its validation images and a sheet of crops."""
    run = trained.folder / "models" / "squares"
    assert (run / "report.html").is_file()
    assert len(pd.read_csv(run / "metrics.csv")) == 4
    shown = {path.name for path in (run / "fold_0" / "pictures").iterdir()}
    assert shown == {
        "crops.png",
        *(f"{kind}_{i}.png" for kind in ("val", "ema") for i in ("t0", "t1")),
    }
    assert json.loads((run / "fold_1" / "fold.json").read_text())["result"]["fold"] == 1
    assert not list(trained.folder.rglob("resume.ckpt"))


def test_too_low_a_score_is_an_error(trained: Trained) -> None:
    """It is so again after the folds are finished, and there is no checkpoint."""
    changes = ("epochs=1", "validate.floor=0.99", "keep=[best]")
    for _ in range(2):
        with pytest.raises(TrainingError, match=r"no dice was above the floor 0.99 \(the highest"):
            trained.again(*changes, folds=(0,), devices="cpu", output="low")
    run = trained.folder / "low" / "squares"
    assert not list(run.glob("fold_*/models/*"))
    assert len(pd.read_csv(run / "metrics.csv")) == 1
