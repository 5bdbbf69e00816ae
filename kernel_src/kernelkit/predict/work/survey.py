"""The survey: images are opened before the first tile, all of them or a sample.

To open an image takes a millisecond, so 18 000 of them would take many seconds before any work is
done. Of so many, a sample that lies evenly among them is opened. Each image is looked at again when
its turn comes.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import mean
from typing import NamedTuple

from kernelkit.competition import CompetitionFolder, Scene
from kernelkit.errors import RecipeError, as_sentence
from kernelkit.recipe import EnsembleRecipe, Recipe
from kernelkit.slide.header import look_at

__all__ = ["PictureKind", "Survey", "checked_ensemble", "survey_images"]

_COLOURS = 3
# so many images are all opened, and of more than that a sample of at most this size
_MOST_OPENED = 100


class PictureKind(NamedTuple):
    """Which ensemble predicts an image, and what its networks are going to see of it."""

    ensemble: str
    bands: int
    dtype: str
    height: int
    width: int


@dataclass
class Survey:
    """What was seen of a competition's images.

    Attributes
    ----------
    images
        How many there are to predict.
    kinds
        The kind of each image that was opened and can be predicted, by its id.
    refused
        Why an image that was opened cannot be predicted, by its id.
    """

    images: int = 0
    kinds: dict[str, PictureKind] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def opened(self) -> int:
        """How many images were opened."""
        return len(self.kinds) + len(self.refused)

    @property
    def notes(self) -> list[str]:
        """A sentence that says so if not all images were opened."""
        if self.opened >= self.images:
            return []
        return [
            f"{self.opened} of {self.images} images were opened before the run, evenly spread. The"
            " others are looked at when their turn comes"
        ]

    def total(self, weigh: Callable[[PictureKind], float]) -> float:
        """The sum of a quantity over all images, estimated if not all were opened."""
        weights = [weigh(kind) for kind in self.kinds.values()]
        return mean(weights) * (self.images - len(self.refused)) if weights else 0.0

    def kinds_of(self, ensemble: str) -> list[PictureKind]:
        """The kinds of images that an ensemble predicts, the most frequent one first."""
        counts = Counter(kind for kind in self.kinds.values() if kind.ensemble == ensemble)
        return [kind for kind, _ in counts.most_common()]


def survey_images(
    competition: CompetitionFolder, recipe: Recipe, limit: int | None = None
) -> Survey:
    """Open the images of a competition that are going to be predicted, or a sample of them.

    All are opened if they are few, or if none of the sample can be predicted. With several
    ensembles all are opened too, since only the file says which one predicts it.

    Parameters
    ----------
    limit
        Only so many images from the start are going to be predicted. The others stay closed.
    """
    wanted = competition.images[:limit]
    scenes = {image: competition.scenes[image] for image in wanted if image in competition.scenes}
    survey = Survey(images=len(scenes))
    step = 1 if len(recipe.ensembles) > 1 else max(1, -(-len(scenes) // _MOST_OPENED))
    _open(dict(list(scenes.items())[::step]), recipe, survey)
    if not survey.kinds:
        _open({i: scene for i, scene in scenes.items() if i not in survey.refused}, recipe, survey)
    return survey


def _open(scenes: Mapping[str, Scene], recipe: Recipe, survey: Survey) -> None:
    for image_id, scene in scenes.items():
        try:
            height, width, bands, dtype = look_at(scene.paths)
            name = checked_ensemble(recipe, bands, dtype).name
            survey.kinds[image_id] = PictureKind(name, bands, dtype, height, width)
        except Exception as error:  # whatever it is, it costs this image only
            survey.refused[image_id] = as_sentence(error)


def checked_ensemble(recipe: Recipe, bands: int, dtype: str) -> EnsembleRecipe:
    """The ensemble for images with `bands` bands of `dtype`.

    Raises
    ------
    RecipeError
        There is none, or such an image lacks a band that is asked for.
    """
    ensemble = recipe.ensemble_for(bands, dtype)
    if ensemble.input.highest_band > bands:
        raise RecipeError(
            f"the input of {ensemble.name} takes band {ensemble.input.highest_band}, but the image "
            f"has {bands}. Correct 'bands', or the 'when' of the ensemble"
        )
    rule = recipe.foreground
    if rule is not None and rule.rule == "saturation" and bands < _COLOURS:
        raise RecipeError(
            f"the foreground rule 'saturation' needs {_COLOURS} colours, but the image has "
            f"{bands} band(s). Use the rule 'grey'"
        )
    return ensemble
