"""The files of polygons that sources of windows lie around."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from kernelkit.competition import Scene
from kernelkit.errors import CompetitionError, TrainingError
from kernelkit.files import file_sha256
from kernelkit.maps import DrawnLabels
from kernelkit.training.cuts.image import CutImage
from kernelkit.training.cuts.regions import Regions
from kernelkit.training.cuts.sight import key_of

if TYPE_CHECKING:
    from kernelkit.training.recipe import RunRecipe

__all__ = ["Polygons"]


class Polygons:
    """The files of polygons of a run's sources, one per image that has one.

    Parameters
    ----------
    run
        Its windows say which files.
    folder
        The competition's folder.
    scenes
        The images.

    Attributes
    ----------
    notes
        What went otherwise, a sentence each.

    Raises
    ------
    TrainingError
        No image has a file of some source.
    """

    def __init__(self, run: "RunRecipe", folder: Path, scenes: Mapping[str, Scene]) -> None:
        self._run = run
        self._files: dict[str, dict[str, Path]] = {}
        self.notes: list[str] = []
        for name, source in run.windows.items():
            if source.polygons is None:
                continue
            paths = {
                image: folder / _with_places(source.polygons, scene)
                for image, scene in scenes.items()
            }
            found = self._files[name] = {im: path for im, path in paths.items() if path.is_file()}
            if not found:
                raise TrainingError(
                    f"windows.{name}: no image has a file of polygons. Of the first it would be "
                    f"{next(iter(paths.values()))}. Correct polygons"
                )
            if len(found) < len(paths):
                self.notes.append(
                    f"windows.{name}: {len(paths) - len(found)} of {len(paths)} images have no "
                    "file of polygons"
                )

    @property
    def fingerprint(self) -> str:
        """A hash of all files."""
        contents = {
            name: {image: file_sha256(path) for image, path in files.items()}
            for name, files in self._files.items()
        }
        return key_of(contents)

    def of(self, name: str, image: CutImage) -> Regions | None:
        """The polygons of an image that a source lies around. None if it has no file.

        Raises
        ------
        TrainingError
            The file cannot be read.
        """
        path = self._files[name].get(image.id)
        if path is None:
            return None
        source = self._run.windows[name]
        try:
            drawn = DrawnLabels(
                path, image.source_transform, image.crs, source.names, required=False
            )
        except CompetitionError as error:
            raise TrainingError(f"windows.{name}: {error}") from error
        before = self._run.tiles.pads[0] if self._run.tiles.whole else 0
        return Regions(drawn, image, before)

    def refuse_nothing(self, windows: pd.DataFrame) -> None:
        """Refuse a source that gives no window in any image.

        Raises
        ------
        TrainingError
            With what the source lies around.
        """
        given = set(windows["source"])
        for name, source in self._run.windows.items():
            if name not in given:
                raise TrainingError(
                    f"windows.{name}: found no window around {source.around} in any image. "
                    f"{_REMEDIES[source.around]}"
                )


# What to do if a source gives no window.
_REMEDIES = {
    "objects": "Check that the labels hold objects, or leave the source out",
    "background": "Choose a smaller size, since each such window holds some target",
    "polygons": "Correct names or polygons",
    "grid": "Correct its size",
    "picture": "Leave the source out",
}


def _with_places(pattern: str, scene: Scene) -> str:
    for place, text in scene.places.items():
        pattern = pattern.replace(f"{{{place}}}", text)
    return pattern
