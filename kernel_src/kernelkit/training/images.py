"""The images that a run trains on, with their labels."""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from kernelkit.competition import Scene
from kernelkit.competition.scenes import find_scenes
from kernelkit.console import printable
from kernelkit.errors import LabelError, SlideError, TrainingError
from kernelkit.labels import Labels, open_labels
from kernelkit.slide import Slide

if TYPE_CHECKING:
    from kernelkit.training.recipe import RunRecipe

__all__ = ["TrainingImages", "labelled_shares", "training_images"]


@dataclass(frozen=True)
class TrainingImages:
    """The images that have labels.

    Attributes
    ----------
    scenes
        The files of each image, by its id.
    labels
        Their labels.
    problems
        Why images cannot be used, by their id.
    notes
        What went otherwise, a sentence each.
    """

    scenes: Mapping[str, Scene]
    labels: Labels
    problems: Mapping[str, str]
    notes: tuple[str, ...]


def training_images(run: "RunRecipe", folder: Path) -> TrainingImages:
    """Find the images of a run below the competition's folder, and their labels.

    No image is opened.

    Raises
    ------
    TrainingError
        There is no such folder, or no image in it.
    LabelError
        There are no labels, or none of these images.
    """
    if not folder.is_dir():
        raise TrainingError(
            f"{folder}: there is no such folder. Name the competition's folder, or fetch it with"
            " make download-data"
        )
    competition = run.competition.model_copy(update={"images": run.images})
    found, problems = find_scenes(folder, competition)
    if not found:
        raise TrainingError(
            f"{folder}: no image fits {run.images}. Correct 'images' in the training recipe"
        )
    scenes = {
        image: scene
        for image, scene in found.items()
        if printable(image) == image and any(fnmatchcase(image, only) for only in run.only)
    }
    if not scenes:
        raise TrainingError(
            f"{folder}: none of the {len(found)} images fits only: {', '.join(run.only)}. The first"
            f" is {printable(next(iter(found)))}"
        )
    labels = open_labels(run.labels, folder, competition, scenes)
    notes = [f"{image}: {why}, left out" for image, why in problems.items()] + labels.notes
    return TrainingImages(
        {image: scenes[image] for image in labels.ids}, labels, problems, tuple(notes)
    )


def labelled_shares(
    images: TrainingImages, run: "RunRecipe"
) -> tuple[dict[str, tuple[float, ...]], dict[str, str]]:
    """Measure how much of each image is labelled.

    Returns
    -------
    The share of each image that each class has, by the image's id. Then why images cannot be read,
    by their ids.
    """
    shares, problems = {}, {}
    for image, scene in images.scenes.items():
        try:
            with (
                Slide(scene.paths, nodata=run.competition.nodata) as slide,
                images.labels.of(image, slide) as label,
            ):
                masks = label.masks()
        except (SlideError, LabelError) as error:
            problems[image] = str(error)
        else:
            shares[image] = tuple(mask.area / (mask.height * mask.width) for mask in masks)
    return shares, problems
