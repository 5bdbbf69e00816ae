"""Train the demo's networks, as a user trains: a recipe, a competition's folder, run folders.

The recipes lie in `training/`, one for each competition of the demo. They are the published
solutions' trainings in small.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kernelkit.checkpoints import load_members
from kernelkit.training.recipe import TrainingRecipe
from kernelkit.training.train import train

__all__ = ["RECIPES", "export_pretrained", "train_networks", "training_recipe"]

# A file per competition: nuclei.yaml, clouds.yaml, ...
RECIPES = Path(__file__).parent / "training"
# Competitions of which one fold of each run is enough to show what they are for.
_FIRST_FOLD_ONLY = ("salt",)


def training_recipe(name: str, overrides: Sequence[str] = ()) -> TrainingRecipe:
    """The training recipe of one of the demo's competitions.

    Parameters
    ----------
    overrides
        Values instead of those of the file, such as `epochs=3`.
    """
    return TrainingRecipe.load(RECIPES / f"{name}.yaml", overrides)


def train_networks(
    name: str,
    competition: Path,
    models: Path,
    *,
    cuts: Path,
    runs: Sequence[str] = (),
    overrides: Sequence[str] = (),
    devices: str = "auto",
) -> None:
    """Train the networks of one of the demo's competitions.

    Parameters
    ----------
    name
        The competition.
    competition
        Its folder.
    models
        The folder of the run folders.
    cuts
        The folder of the training images at the scale of the training.
    runs
        Which runs. Without any, all.
    overrides
        As for `training_recipe`.
    devices
        As for `train`.

    Raises
    ------
    TrainingError
        A fold was never better than its run's floor.
    """
    training = training_recipe(name, overrides)
    folds = (0,) if name in _FIRST_FOLD_ONLY else ()
    train(training, competition, models, cuts=cuts, runs=runs, folds=folds, devices=devices)


def export_pretrained(models: Path, pretrained: Path) -> None:
    """Save each fold's best network in the library's own form: config.json, model.safetensors."""
    for member in load_members(models):
        save: Any = member.module.save_pretrained  # torch's type of a module does not know it
        save(pretrained / f"{member.run}_{member.fold}")
