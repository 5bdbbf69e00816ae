"""The labels of a competition's training images, behind one interface."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from kernelkit.competition import Scene
from kernelkit.errors import LabelError
from kernelkit.labels.image_label import ImageLabel
from kernelkit.labels.planes import Planes
from kernelkit.recipe import Competition
from kernelkit.recipe.labels import LabelsRecipe
from kernelkit.slide import Slide

__all__ = ["Labels", "RecipeLabels", "some"]

# so many ids are named in a message
_SHOWN = 3


class Labels(ABC):
    """The labels of images. `open_labels` makes them of any form.

    They hold no open file, and can be sent to another process.

    Parameters
    ----------
    source
        What the labels come from, for messages.
    competition
        The classes.
    scenes
        The images.

    Attributes
    ----------
    ids
        The images that have labels, in the order of the scenes.
    classes
        The names of the classes, one per plane. A single class without a name is "".
    notes
        What went otherwise, a sentence each: images without labels, labels without an image.
    """

    def __init__(self, source: str, competition: Competition, scenes: Mapping[str, Scene]) -> None:
        self.source = source
        self.competition = competition
        self.scenes = dict(scenes)
        self.ids: tuple[str, ...] = ()
        self._labelled: frozenset[str] = frozenset()
        self.classes = competition.classes or ("",)
        self.notes: list[str] = []

    def of(self, image_id: str, slide: Slide) -> ImageLabel:
        """The labels of one image.

        Parameters
        ----------
        slide
            The image, of which size and place on the map are asked for.

        Raises
        ------
        LabelError
            The image has no labels, they cannot be read, or they do not fit it.
        """
        if image_id not in self._labelled:
            raise LabelError(
                f"{self.source}: the image {image_id!r} has no labels. Ask for one of the"
                f" {len(self.ids)} images that have"
            )
        planes = self._planes(image_id, slide)
        return ImageLabel(planes, slide.height, slide.width, self.competition.size)

    @abstractmethod
    def fingerprint(self, image_id: str) -> str:
        """A hash of all that the labels of one image depend on, apart from the image."""

    @abstractmethod
    def _planes(self, image_id: str, slide: Slide) -> Planes:
        """The labels of one image on their own grid."""

    def occurrence(self, shares: Mapping[str, Sequence[float]]) -> list[str]:
        """Say which classes never occur.

        Parameters
        ----------
        shares
            The share of each image that each class has.

        Returns
        -------
        A sentence per class that no image has.

        Raises
        ------
        LabelError
            No image has any class.
        """
        totals = [sum(each) for each in zip(*shares.values(), strict=True)]
        absent = [name for name, total in zip(self.classes, totals, strict=True) if not total]
        if shares and len(absent) == len(self.classes):
            raise LabelError(
                f"{self.source}: no pixel of the {len(shares)} images is labelled. Check the form"
                " of the labels, and which images they are of"
            )
        return [
            f"{self.source}: the class {name} never occurs in the {len(shares)} images"
            for name in absent
        ]

    def _keep(self, found: Iterable[str], missing: str, remedy: str) -> None:
        """Keep the images that have labels, and say which have none.

        Parameters
        ----------
        missing
            What an image without labels lacks.
        remedy
            What to do if none has labels.

        Raises
        ------
        LabelError
            No image has labels.
        """
        known = set(found)
        self.ids = tuple(image for image in self.scenes if image in known)
        self._labelled = frozenset(self.ids)
        without = [image for image in self.scenes if image not in known]
        if not self.ids:
            raise LabelError(
                f"{self.source}: none of the {len(self.scenes)} images has {missing}. {remedy}"
            )
        if without:
            self.notes.append(
                f"{self.source}: {some(without, 'image')} without {missing}, left out"
            )


class RecipeLabels(Labels):
    """Labels of the form that a recipe names.

    Parameters
    ----------
    recipe
        In which form they come, and where they lie.
    folder
        The competition's folder.
    competition, scenes
        As of `Labels`.

    Raises
    ------
    LabelError
        No image has labels, or they contradict the recipe.
    """

    def __init__(
        self,
        recipe: LabelsRecipe,
        folder: Path,
        competition: Competition,
        scenes: Mapping[str, Scene],
    ) -> None:
        super().__init__(str(folder / recipe.files), competition, scenes)
        self._find(recipe, folder)

    @abstractmethod
    def _find(self, recipe: LabelsRecipe, folder: Path) -> None:
        """Find the labels, and keep the images that have any."""


def some(names: Sequence[str], what: str) -> str:
    """How many there are, and the first few of them.

    >>> some(["a", "b"], "image"), some(["a"], "row")
    ('2 images (a, b)', '1 row (a)')
    """
    shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    return f"{len(names)} {what}{'s' if len(names) > 1 else ''} ({shown})"
