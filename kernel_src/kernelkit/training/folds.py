"""Folds: which images validate, and which train, so that no group is in both.

>>> folds = Folds({"a": 0, "b": 1, "c": ALWAYS}, {"a": "", "b": "", "c": ""})
>>> folds.count, folds.validation(0), folds.training(0)
(2, ('a',), ('b', 'c'))
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from kernelkit.errors import TrainingError
from kernelkit.files import open_atomically
from kernelkit.training.tables import column_of, read_table

__all__ = ["ALWAYS", "Folds", "refuse_no_validation"]

# The fold of an image that trains in all folds.
ALWAYS = -1
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
            refuse_no_validation(found, str(path))
        return cls.checked(found, belongs or {}, str(path))

    @classmethod
    def checked(cls, folds: Mapping[str, int], groups: Mapping[str, str], source: str) -> Self:
        """Folds whose errors begin with where they come from. Images may lack a group."""
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


def refuse_no_validation(folds: Mapping[str, int], source: str) -> None:
    """Refuse folds in which every image trains always."""
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


def _quoted(text: str) -> str:
    return f'"{text.replace(chr(34), chr(34) * 2)}"' if set(text) & set(',"\n\r') else text
