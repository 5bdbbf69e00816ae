"""A training in a process of its own, to be killed in the middle: python -m ... FOLDER OUTPUT."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

from kernelkit.training.cuts import make_cuts
from kernelkit.training.fold_folder import FoldFolder
from kernelkit.training.loop.files import FoldFiles
from kernelkit.training.recipe import TrainingRecipe
from kernelkit.training.train_fold import train_fold

CHANGES = ["epochs=3", "steps=4", "validate.floor=0", "input={bands: [1, 2, 3], divide: 255}"]


def train_squares(folder: Path, output: Path, advance: Callable[[int], None]) -> Path:
    """Train a fold of the squares in `folder`, from where it was killed. Return its folder."""
    run = TrainingRecipe.load(folder / "train.yaml", CHANGES).runs["squares"]
    cuts = make_cuts(run, folder / "competition", folder / "cuts")
    place = FoldFolder(output, 0)
    if not place.models.exists():
        FoldFiles(place.path).begin({})
    train_fold(run, 0, place, cuts.folder, cuts.folds, ["cpu"], advance=advance)
    return place.path


def say(steps: int) -> None:
    """Say that a batch is done, and give others time to kill."""
    if steps == 1:
        print("step", flush=True)
        time.sleep(0.2)


if __name__ == "__main__":
    train_squares(Path(sys.argv[1]), Path(sys.argv[2]), say)
