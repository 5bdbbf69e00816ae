"""Which files hold the labels of each image, found by a pattern."""

from collections.abc import Mapping
from pathlib import Path

from kernelkit.competition import Scene
from kernelkit.competition.scenes import FilePattern
from kernelkit.errors import LabelError
from kernelkit.labels.labels import RecipeLabels, some
from kernelkit.recipe.labels import LabelsRecipe

__all__ = ["FileLabels", "LabelFiles"]

# One file for all classes is kept under this name.
_ALL = ""


class LabelFiles:
    """The label files below a competition's folder.

    Parameters
    ----------
    folder
        The competition's folder.
    pattern
        Where they lie in it, with `{image}`, `{group}` and `{class}`, and a shell's wildcards.
    classes
        What `{class}` may stand for.

    Attributes
    ----------
    unknown
        Files that fit the pattern, but are of a class that there is not.

    Raises
    ------
    LabelError
        Two files are the labels of one image.
    """

    def __init__(self, folder: Path, pattern: str, classes: tuple[str, ...]) -> None:
        self._folder, self._pattern = folder, pattern
        self._places = [name for name in ("image", "group") if f"{{{name}}}" in pattern]
        self._found: dict[tuple[str, ...], dict[str, Path]] = {}
        self.unknown: list[Path] = []
        files = FilePattern(pattern)
        for path in sorted(folder.glob(files.glob)):
            places = files.match(path.relative_to(folder).as_posix())
            if places is None or not path.is_file():
                continue
            name = places.get("class", _ALL)
            if "class" in places and name not in classes:
                self.unknown.append(path)
                continue
            of = self._found.setdefault(tuple(places[place] for place in self._places), {})
            if name in of:
                raise LabelError(
                    f"{path}: it is of the same image as {of[name].name}. Keep one of them, or"
                    " narrow the pattern"
                )
            of[name] = path

    def of(self, scene: Scene) -> Mapping[str, Path]:
        """The file of each class of an image, or the one of all classes under "".

        It is empty if the image has none.
        """
        return self._found.get(self._key(scene), {})

    def without_image(self, scenes: Mapping[str, Scene]) -> list[str]:
        """The names of files that are of no image."""
        known = {self._key(scene) for scene in scenes.values()}
        return [
            path.name
            for key, files in self._found.items()
            if key not in known
            for path in files.values()
        ]

    def example(self, scene: Scene) -> str:
        """Where the labels of an image would lie."""
        return self._pattern.format_map({**scene.places, "class": "{class}"})

    def _key(self, scene: Scene) -> tuple[str, ...]:
        return tuple(scene.places[place] for place in self._places)


class FileLabels(RecipeLabels):
    """Labels in files that a pattern finds. See `Labels`."""

    def _find(self, recipe: LabelsRecipe, folder: Path) -> None:
        self._files = LabelFiles(folder, recipe.files, self.classes)

    def _keep_those_with_files(self, missing: str) -> None:
        """Keep the images that have a file, and name files that are of no image.

        Parameters
        ----------
        missing
            What an image without one lacks.
        """
        first = next(iter(self.scenes.values()), None)
        example = "" if first is None else self._files.example(first)
        self._keep(
            [image for image, scene in self.scenes.items() if self._files.of(scene)],
            missing,
            f"Of the first it would be {example}. Correct the pattern",
        )
        if names := self._files.without_image(self.scenes):
            self.notes.append(f"{self.source}: {some(names, 'file')} not of an image")
