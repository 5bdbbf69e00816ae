"""Labels that are drawn as polygons, in pixels or on the map."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kernelkit.errors import CompetitionError, LabelError
from kernelkit.files import file_sha256
from kernelkit.grid import Window
from kernelkit.labels.files import FileLabels
from kernelkit.labels.planes import Planes
from kernelkit.maps import DrawnLabels
from kernelkit.recipe.labels import LabelsRecipe
from kernelkit.slide import Slide

__all__ = ["PolygonLabels"]

_ON = np.uint8(255)
# So many names of a file are named.
_SHOWN = 8


class PolygonLabels(FileLabels):
    """A file of polygons per image or per group, or one per class of these. See `Labels`.

    Raises
    ------
    LabelError
        No image has a file, two files are of one image, or there is no name per class.
    """

    def _find(self, recipe: LabelsRecipe, folder: Path) -> None:
        super()._find(recipe, folder)
        self._all_touched = recipe.all_touched
        self._names = self._names_of_classes(recipe)
        self._keep_those_with_files("a file of polygons")

    def fingerprint(self, image_id: str) -> str:
        """See `Labels`."""
        content = [str(self._all_touched), str(self._names), str(self.classes)]
        for name, path in self._files.of(self.scenes[image_id]).items():
            # a Shapefile is several files
            parts = sorted(path.parent.glob(f"{path.stem}.*")) if path.suffix == ".shp" else [path]
            content += [name, *(file_sha256(part) for part in parts if part.is_file())]
        return hashlib.sha256("\n".join(content).encode()).hexdigest()

    def _names_of_classes(self, recipe: LabelsRecipe) -> list[Sequence[str] | None]:
        """The names that the polygons of each class have. None takes all polygons."""
        if recipe.has_file_per_class:
            return [recipe.names] * len(self.classes)
        if len(self.classes) == 1:
            return [recipe.names]
        names = recipe.names or self.classes
        if len(names) != len(self.classes):
            raise LabelError(
                f"{self.source}: found {len(names)} names for {len(self.classes)} classes, wanted"
                " one per class"
            )
        return [[name] for name in names]

    def _planes(self, image_id: str, slide: Slide) -> "DrawnPlanes":
        files = self._files.of(self.scenes[image_id])
        drawn: list[DrawnLabels | None] = []
        for name, names in zip(self.classes, self._names, strict=True):
            path = files.get(name) or files.get("")
            try:
                drawn.append(
                    None
                    if path is None
                    else DrawnLabels(path, slide.transform, slide.crs, names, required=False)
                )
            except CompetitionError as error:
                raise LabelError(str(error)) from error
        return DrawnPlanes(drawn, slide, self._all_touched)


class DrawnPlanes(Planes):
    """Polygons, drawn where they are asked for.

    Parameters
    ----------
    drawn
        The polygons of each class, None for an empty class.
    slide
        The image.
    all_touched
        Whether a pixel counts that a polygon only touches.
    """

    def __init__(
        self, drawn: Sequence[DrawnLabels | None], slide: Slide, all_touched: bool
    ) -> None:
        super().__init__((slide.height, slide.width), len(drawn))
        self._drawn, self._all_touched = drawn, all_touched
        held = [each for each in drawn if each is not None]
        self.notes += dict.fromkeys(note for each in held for note in each.notes)
        polygons = sum(map(len, held))
        classes = dict.fromkeys(name for each in held for name in each.classes)
        if classes and not polygons:
            self.notes.append(
                f"{held[0].path.name}: no polygon has a name of the recipe, so the image "
                f"{slide.name} is taken as empty. The file has {', '.join(list(classes)[:_SHOWN])}"
            )
        if polygons and not any(each.touch(slide.bounds) for each in held):
            self.notes.append(
                f"{held[0].path.name}: none of its {polygons} polygons touches the image"
                f" {slide.name}, which is taken as empty"
            )

    def read(self, window: Window) -> NDArray[np.uint8]:
        """See `Planes`."""
        out = np.zeros((self.classes, window.height, window.width), np.uint8)
        for plane, drawn in zip(out, self._drawn, strict=True):
            if drawn is not None:
                mask = drawn.mask(window, all_touched=self._all_touched)
                plane[...] = mask.to_array() * _ON
        return out
