import shutil
from pathlib import Path

import pandas as pd
import pytest

from kernelkit.competition import CompetitionFolder
from kernelkit.evaluation.metrics import Counts
from kernelkit.mask import BitMask
from kernelkit.predict import load_models, predict
from kernelkit.recipe import Recipe
from kernelkit.training.cuts import make_cuts
from kernelkit.training.fold_folder import FoldFolder
from kernelkit.training.recipe import TrainingRecipe
from kernelkit.training.run_folder import begin_run
from kernelkit.training.train_fold import train_fold
from tests.made.squares import RECIPE, TRAINING, write_squares

TILES = "tiles: {core: 128, pad: 32, scale: 2, fill: reflect}"
WINDOWS = "windows: {grid: {around: grid, size: 64, step: 32}}\n"


@pytest.mark.parametrize(
    ("tiles", "windows"),
    [
        ("tiles: {core: 64, pad: 16, fill: reflect}", WINDOWS),
        ("tiles: {whole: true, pad: [14, 13], fill: reflect}", ""),
    ],
    ids=["tiles", "whole pictures"],
)
def test_a_score_is_that_of_the_notebook(tmp_path: Path, tiles: str, windows: str) -> None:
    """The notebook's prediction of the validation images has the Dice in the checkpoint's name."""
    competition = write_squares(tmp_path)
    (tmp_path / "squares.yaml").write_text(RECIPE.replace(TILES, tiles))
    (tmp_path / "train.yaml").write_text(TRAINING.replace(WINDOWS, windows))
    run = TrainingRecipe.load(
        tmp_path / "train.yaml", ["input.mean=[0.2, 0.2, 0.2]", "input.std=[0.1, 0.1, 0.1]"]
    ).runs["squares"]
    cuts = make_cuts(run, competition, tmp_path / "cuts")
    place = FoldFolder(begin_run(run, tmp_path / "models", cuts.folds), 0)
    place.make()
    result = train_fold(run, 0, place, cuts.folder, cuts.folds, ["cpu"])

    validated = cuts.folds.validation(0)
    (competition / "test" / "unknown.tif").unlink()
    for name in validated:
        shutil.copy(competition / "train" / f"{name}.tif", competition / "test")
    sample = pd.DataFrame({"id": validated, "rle": [""] * len(validated)})
    sample.to_csv(competition / "sample_submission.csv", index=False)
    recipe = Recipe.load(tmp_path / "squares.yaml")
    done = predict(
        CompetitionFolder.read(competition, recipe.competition),
        recipe,
        load_models(recipe, tmp_path / "models"),
        tmp_path / "out",
    )
    labels = pd.read_csv(competition / "train.csv", index_col="id")["rle"]
    counts = Counts()
    for name in validated:
        [mask] = done.masks[name]
        counts += Counts.of(mask, BitMask.from_rle(labels[name], mask.shape))
    assert result.score == pytest.approx(counts.dice, abs=2e-4)
    assert 0.3 < counts.dice < 1
