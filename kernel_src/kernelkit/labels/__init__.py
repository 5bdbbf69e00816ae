"""The labels of images, whatever form they come in, read by window and at a scale.

`labels` has the interface, and `image_label` the labels of one image. `encoded` are run-length
encodings in a table, `pixel_files` masks and soft masks, `drawn` polygons. Each gives `planes` on
the grid of the labels. `shares` gives them another size.

>>> from kernelkit.recipe.labels import LabelsRecipe
>>> LabelsRecipe(masks="masks/{image}.png").form
'masks'
"""

from collections.abc import Mapping
from pathlib import Path

from kernelkit.competition import Scene
from kernelkit.labels.drawn import PolygonLabels
from kernelkit.labels.encoded import EncodedLabels
from kernelkit.labels.image_label import ImageLabel
from kernelkit.labels.labels import Labels, RecipeLabels
from kernelkit.labels.pixel_files import PixelLabels
from kernelkit.recipe import Competition
from kernelkit.recipe.labels import LabelsRecipe

__all__ = ["ImageLabel", "Labels", "open_labels"]

_FORMS: Mapping[str, type[RecipeLabels]] = {
    "rle": EncodedLabels,
    "masks": PixelLabels,
    "soft": PixelLabels,
    "polygons": PolygonLabels,
}


def open_labels(
    recipe: LabelsRecipe, folder: Path, competition: Competition, scenes: Mapping[str, Scene]
) -> Labels:
    """Find the labels of images.

    Parameters
    ----------
    recipe
        In which form they come, and where they lie.
    folder
        The competition's folder.
    competition
        The classes, the rows, and how a mask becomes text.
    scenes
        The images, as `kernelkit.competition.scenes.find_scenes` finds them.

    Raises
    ------
    LabelError
        There are no labels, or none of these images.
    """
    return _FORMS[recipe.form](recipe, Path(folder), competition, scenes)
