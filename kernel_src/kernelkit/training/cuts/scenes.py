"""Which images a run trains on."""

from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from kernelkit.competition import Scene
from kernelkit.competition.scenes import find_scenes
from kernelkit.errors import TrainingError

if TYPE_CHECKING:
    from kernelkit.training.recipe import RunRecipe

__all__ = ["training_scenes"]

# So many ids are named in a message.
_SHOWN = 5


def training_scenes(run: "RunRecipe", folder: Path) -> tuple[dict[str, Scene], list[str]]:
    """Find the training images of a run in the competition's folder.

    Returns
    -------
    The scene of each image id. Then a note per id whose files are not one image.

    Raises
    ------
    TrainingError
        There is no such folder, or no such image in it.
    """
    if not folder.is_dir():
        raise TrainingError(f"{folder}: there is no such folder. Name the competition's folder")
    scenes, problems = find_scenes(folder, run.competition)
    chosen = {
        image: scene
        for image, scene in scenes.items()
        if any(fnmatchcase(image, pattern) for pattern in run.only)
    }
    if not chosen:
        there = ", ".join([*scenes][:_SHOWN])
        found = f"{len(scenes)} images ({there})" if scenes else "no image"
        raise TrainingError(
            f"{folder / run.images}: found {found}, wanted some that match "
            f"{', '.join(run.only)}. Correct images or only of the training"
        )
    notes = [
        f"{image}: {problem}. It is left out"
        for image, problem in problems.items()
        if any(fnmatchcase(image, pattern) for pattern in run.only)
    ]
    return chosen, notes
