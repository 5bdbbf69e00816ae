"""A small training recipe with the recipe that predicts, and the folder of a run of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from kernelkit.training.folds import Folds
from kernelkit.training.recipe import RunRecipe, TrainingRecipe
from kernelkit.training.run_folder import FoldFolder, begin_run
from tests.made.networks import FPN, checkpoint, network

MODEL = {key: value for key, value in FPN.items() if key not in ("in_channels", "classes")}
FOLDS = Folds(
    {"a": 0, "b": 1, "c,d": 1, "e": 0}, {"a": "one", "b": "two", "c,d": "two", "e": "one"}
)


def load_training(
    folder: Path,
    ensemble: dict[str, Any],
    tiles: Any,
    overrides: Sequence[str] = (),
    *,
    competition: dict[str, Any] | None = None,
    **keys: Any,
) -> TrainingRecipe:
    """Write both recipes into a folder, and read the one of the training."""
    predicting = {
        "name": "predicting",
        "competition": {"slug": "a-competition", **(competition or {})},
        "tiles": tiles,
        "ensembles": [{"name": "one", **ensemble}],
    }
    training = {
        "name": "small",
        "predicts": "predicting.yaml",
        "images": "train/{image}.png",
        "labels": {"rle": "train.csv"},
        "folds": {"lists": [["a"], ["b"]]},
        "windows": {"grid": {"around": "grid", "size": 64}},
        "model": MODEL,
        "loss": {"dice": 1},
        "epochs": 4,
        **keys,
    }
    if tiles == "whole" or tiles.get("whole"):
        del training["windows"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "predicting.yaml").write_text(yaml.safe_dump(predicting))
    (folder / "small.yaml").write_text(yaml.safe_dump(training))
    return TrainingRecipe.load(folder / "small.yaml", overrides)


def write_trained(run: RunRecipe, models: Path, seeds: Sequence[int] = (1,)) -> Path:
    """Begin the folder of a run, with a checkpoint of random weights per fold."""
    folder = begin_run(run, models, FOLDS)
    for number, seed in enumerate(seeds):
        fold = FoldFolder(folder, number)
        fold.make()
        state = checkpoint(network(run.description, seed))
        torch.save(state, fold.models / f"e2_t4_cmax_ema_0.9{seed}.pth")
    return folder
