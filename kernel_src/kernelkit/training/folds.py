"""Folds: which images validate, and which train, so that no group is in both.

>>> folds = Folds({"a": 0, "b": 1, "c": ALWAYS}, {"a": "", "b": "", "c": ""})
>>> folds.count, folds.validation(0), folds.training(0)
(2, ('a',), ('b', 'c'))
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Self

from kernelkit.competition import Scene
from kernelkit.errors import TrainingError
from kernelkit.files import open_atomically
from kernelkit.training.divide import divide
from kernelkit.training.tables import column_of, read_table

if TYPE_CHECKING:
    from kernelkit.recipe import Competition
    from kernelkit.training.recipe.folds import FoldsRecipe

__all__ = ["ALWAYS", "Folds"]

# The fold of an image that trains in all folds.
ALWAYS = -1
# What `by` is called if groups come from the images' pattern.
_OF_PATTERN = ("group", "{group}")
_COLUMNS = ("image", "fold", "group")


@dataclass(frozen=True)
class Folds:
    """Which images validate in each fold.

    Parameters
    ----------
    folds
        The number of each image's fold, counted from 0. `ALWAYS` trains in all folds.
    groups
        What each image belongs to, such as a patient. Empty if it is nothing.

    Raises
    ------
    TrainingError
        A fold is empty or has nothing to train on, or a group is in two folds.
    """

    folds: Mapping[str, int]
    groups: Mapping[str, str]

    def __post_init__(self) -> None:
        self._refuse_gaps()
        self._refuse_leaks()

    @property
    def count(self) -> int:
        """How many folds there are."""
        return max(self.folds.values(), default=ALWAYS) + 1

    @property
    def images(self) -> tuple[str, ...]:
        """All images."""
        return tuple(self.folds)

    def fold_of(self, image: str) -> int:
        """The fold in which an image validates. `ALWAYS` if it does in none.

        Raises
        ------
        TrainingError
            There is no such image.
        """
        if image not in self.folds:
            raise TrainingError(
                f"the image {image!r:.60} is in no fold. Make the table of folds again"
            )
        return self.folds[image]

    def validation(self, fold: int) -> tuple[str, ...]:
        """The images that validate in a fold."""
        self._refuse_unknown(fold)
        return tuple(image for image, found in self.folds.items() if found == fold)

    def training(self, fold: int) -> tuple[str, ...]:
        """The images that train in a fold."""
        self._refuse_unknown(fold)
        return tuple(image for image, found in self.folds.items() if found != fold)

    def write(self, path: str | Path) -> None:
        """Write a CSV table with the columns image, fold and group."""
        lines = [
            ",".join(map(_quoted, (image, str(fold), self.groups.get(image, ""))))
            for image, fold in self.folds.items()
        ]
        with open_atomically(path) as file:
            file.write("\n".join([",".join(_COLUMNS), *lines, ""]))

    @classmethod
    def read(
        cls,
        path: str | Path,
        images: Collection[str] | None = None,
        left_out: Collection[str] = (),
        groups: Mapping[str, str] | None = None,
    ) -> Self:
        """Read a table with the columns image and fold, and perhaps group.

        Parameters
        ----------
        images
            Those that it must list, of which some validate. None takes what it lists.
        left_out
            Images that it may list, but that cannot be used.
        groups
            The group of each image, if the table has no such column.

        Raises
        ------
        TrainingError
            It is no such table, lacks an image, or lists one that is not there.
        """
        path = Path(path)
        table = read_table(path)
        names = column_of(table, path, "image")
        numbers = column_of(table, path, "fold")
        found = {}
        for line, (image, number) in enumerate(zip(names, numbers, strict=True), 2):
            if image in found:
                raise TrainingError(f"{path}: line {line} has {image!r:.60} again, wanted it once")
            found[image] = _fold(number, path, line)
        belongs = dict(zip(names, table["group"], strict=True)) if "group" in table else groups
        if images is not None:
            _refuse_others(found, images, left_out, str(path))
            if missing := [image for image in images if image not in found]:
                raise TrainingError(
                    f"{path}: {len(missing)} of {len(images)} images have no row, the first is"
                    f" {missing[0]}. Add them. The fold {ALWAYS} trains always"
                )
            found = {image: found[image] for image in images}
            _refuse_no_validation(found, str(path))
        return cls._checked(found, belongs or {}, str(path))

    @classmethod
    def of(
        cls,
        recipe: "FoldsRecipe",
        folder: Path,
        competition: "Competition",
        scenes: Mapping[str, Scene],
        shares: Mapping[str, Sequence[float]] | None = None,
        left_out: Collection[str] = (),
    ) -> Self:
        """Divide images as a recipe says.

        Parameters
        ----------
        recipe
            By lists, by a table, or by a count of folds.
        folder
            The competition's folder, where paths begin that are not absolute.
        scenes
            The images that have labels.
        shares
            The share of each image that each class has. They are needed to stratify.
        left_out
            Ids that lists and tables may name, although their images cannot be used.

        Raises
        ------
        TrainingError
            An image or a group is unknown, a fold is empty, or a group is in two folds.
        """
        groups = {image: scene.group for image, scene in scenes.items()}
        if recipe.table is not None:
            return cls.read(folder / recipe.table, scenes, left_out, groups)
        if recipe.lists is not None:
            found = _by_lists(recipe.lists, scenes, left_out)
            _refuse_no_validation(found, "the recipe's lists")
            return cls._checked(found, groups, "the recipe's lists")
        if recipe.by not in (None, *_OF_PATTERN):
            groups = _groups_of_table(recipe, folder, competition, scenes)
        elif recipe.by is not None and not any(groups.values()):
            raise TrainingError(
                f"folds: found by: {recipe.by}, but no {{group}} in the images' pattern. Write it"
                " there, or name a column of a table"
            )
        if recipe.by is None and len(set(groups.values())) < len(groups) and all(groups.values()):
            raise TrainingError(
                "folds: found images of one group, which would be in two folds. Write by: group"
            )
        assert recipe.count is not None
        if recipe.stratify and (shares is None or not set(scenes) <= set(shares)):
            raise TrainingError("folds: found stratify without the labels of all images")
        numbers = divide(
            recipe.count,
            list(scenes),
            None if recipe.by is None else [groups[image] for image in scenes],
            [shares[image] for image in scenes] if recipe.stratify and shares else None,
            recipe.seed,
        )
        return cls._checked(dict(zip(scenes, numbers, strict=True)), groups, "folds")

    @classmethod
    def _checked(cls, folds: Mapping[str, int], groups: Mapping[str, str], source: str) -> Self:
        try:
            return cls(folds, {image: groups.get(image, "") for image in folds})
        except TrainingError as error:
            raise TrainingError(f"{source}: {error}") from error

    def _refuse_unknown(self, fold: int) -> None:
        if not 0 <= fold < self.count:
            raise TrainingError(
                f"found fold {fold}, wanted one of 0 to {self.count - 1}, as the table of folds has"
            )

    def _refuse_gaps(self) -> None:
        held = set(self.folds.values())
        for fold in range(self.count):
            if fold not in held:
                raise TrainingError(
                    f"the fold {fold} of {self.count} has no image. Count folds from 0, and give"
                    " each an image"
                )
            if held == {fold}:
                raise TrainingError(
                    f"all {len(self.folds)} images validate in the fold {fold}, so none trains."
                    " Give some another fold"
                )

    def _refuse_leaks(self) -> None:
        first: dict[str, str] = {}
        for image, fold in self.folds.items():
            group = self.groups.get(image, "")
            other = first.setdefault(group, image)
            if group and self.folds[other] != fold:
                raise TrainingError(
                    f"the group {group} is in two folds: {other} in {_name(self.folds[other])}, and"
                    f" {image} in {_name(fold)}. Give both one fold"
                )


def _name(fold: int) -> str:
    return "all trainings" if fold == ALWAYS else f"fold {fold}"


def _fold(text: str, path: Path, line: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = ALWAYS - 1
    if number < ALWAYS:
        raise TrainingError(
            f"{path}: line {line} has the fold {text!r:.40}, wanted a whole number from 0 on, or"
            f" {ALWAYS} for an image that always trains"
        )
    return number


def _refuse_no_validation(folds: Mapping[str, int], source: str) -> None:
    if set(folds.values()) <= {ALWAYS}:
        raise TrainingError(f"{source}: found no image that validates, wanted at least one fold")


def _refuse_others(
    found: Iterable[str], images: Collection[str], left_out: Collection[str], source: str
) -> None:
    for image in found:
        if image not in images and image not in left_out:
            raise TrainingError(
                f"{source}: there is no image {image!r:.60} with labels. Correct the id, or take it"
                " out"
            )


def _by_lists(
    lists: Sequence[Sequence[str]], scenes: Mapping[str, Scene], left_out: Collection[str]
) -> dict[str, int]:
    """The fold of each image by lists of ids, which may be patterns of a shell."""
    found = dict.fromkeys(scenes, ALWAYS)
    for number, names in enumerate(lists):
        for name in names:
            images = [name] if name in scenes else [i for i in scenes if fnmatchcase(i, name)]
            if not images and name not in left_out:
                raise TrainingError(
                    f"folds: there is no image {name!r:.60} with labels, as fold {number} lists."
                    " Correct the id, or take it out"
                )
            for image in images:
                if found[image] not in (ALWAYS, number):
                    raise TrainingError(
                        f"folds: {image} is in the folds {found[image]} and {number}. List it once"
                    )
                found[image] = number
    return found


def _groups_of_table(
    recipe: "FoldsRecipe",
    folder: Path,
    competition: "Competition",
    scenes: Mapping[str, Scene],
) -> dict[str, str]:
    """What each image belongs to, by a column of a table."""
    assert recipe.by is not None
    if recipe.groups is None:
        raise TrainingError(
            f"folds: found by: {recipe.by} without groups. Name the table that has this column"
        )
    path = folder / recipe.groups
    table = read_table(path)
    names = column_of(table, path, "image" if "image" in table else competition.id_column)
    groups = dict(zip(names, column_of(table, path, recipe.by), strict=True))
    for image, scene in scenes.items():
        name = scene.places["image"]
        known = next((each for each in (image, name, scene.paths[0].name) if each in groups), None)
        if known is None or not groups[known]:
            raise TrainingError(
                f"{path}: the image {image} has no {recipe.by}. Add a row for it, or fill its field"
            )
        groups[image] = groups[known]
    return {image: groups[image] for image in scenes}


def _quoted(text: str) -> str:
    return f'"{text.replace(chr(34), chr(34) * 2)}"' if set(text) & set(',"\n\r') else text
