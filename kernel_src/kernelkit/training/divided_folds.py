"""Folds as a training recipe says: by lists, by a table, or by a count."""

from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from kernelkit.competition import Scene
from kernelkit.errors import TrainingError
from kernelkit.training.divide import divide
from kernelkit.training.folds import ALWAYS, Folds, refuse_no_validation
from kernelkit.training.tables import column_of, read_table

if TYPE_CHECKING:
    from kernelkit.recipe import Competition
    from kernelkit.training.recipe.folds import FoldsRecipe

__all__ = ["divided_folds"]

# What `by` is called if groups come from the images' pattern.
_OF_PATTERN = ("group", "{group}")


def divided_folds(
    recipe: "FoldsRecipe",
    folder: Path,
    competition: "Competition",
    scenes: Mapping[str, Scene],
    shares: Mapping[str, Sequence[float]] | None = None,
    left_out: Collection[str] = (),
) -> Folds:
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
        return Folds.read(folder / recipe.table, scenes, left_out, groups)
    if recipe.lists is not None:
        found = _by_lists(recipe.lists, scenes, left_out)
        refuse_no_validation(found, "the recipe's lists")
        return Folds.checked(found, groups, "the recipe's lists")
    groups = _groups_of(recipe, folder, competition, scenes)
    return Folds.checked(_by_count(recipe, groups, shares), groups, "folds")


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


def _by_count(
    recipe: "FoldsRecipe",
    groups: Mapping[str, str],
    shares: Mapping[str, Sequence[float]] | None,
) -> dict[str, int]:
    """The fold of each image by division, by groups and stratified if the recipe asks for it."""
    assert recipe.count is not None
    if recipe.stratify and (shares is None or not set(groups) <= set(shares)):
        raise TrainingError("folds: found stratify without the labels of all images")
    numbers = divide(
        recipe.count,
        list(groups),
        None if recipe.by is None else list(groups.values()),
        [shares[image] for image in groups] if recipe.stratify and shares else None,
        recipe.seed,
    )
    return dict(zip(groups, numbers, strict=True))


def _groups_of(
    recipe: "FoldsRecipe", folder: Path, competition: "Competition", scenes: Mapping[str, Scene]
) -> dict[str, str]:
    """What each image belongs to: by a table, or by the images' pattern."""
    if recipe.by not in (None, *_OF_PATTERN):
        return _groups_of_table(recipe, folder, competition, scenes)
    groups = {image: scene.group for image, scene in scenes.items()}
    if recipe.by is not None and not any(groups.values()):
        raise TrainingError(
            f"folds: found by: {recipe.by}, but no {{group}} in the images' pattern. Write it"
            " there, or name a column of a table"
        )
    if recipe.by is None and len(set(groups.values())) < len(groups) and all(groups.values()):
        raise TrainingError(
            "folds: found images of one group, which would be in two folds. Write by: group"
        )
    return groups


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
    groups: dict[str, str] = {}
    for line, (name, group) in enumerate(
        zip(names, column_of(table, path, recipe.by), strict=True), 2
    ):
        if groups.setdefault(name, group) != group:
            raise TrainingError(
                f"{path}: line {line} has {group!r:.60} as the {recipe.by} of {name!r:.60}, and an"
                f" earlier line {groups[name]!r:.60}. Write one of them"
            )
    for image, scene in scenes.items():
        name = scene.places["image"]
        known = next((each for each in (image, name, scene.paths[0].name) if each in groups), None)
        if known is None or not groups[known]:
            raise TrainingError(
                f"{path}: the image {image} has no {recipe.by}. Add a row for it, or fill its field"
            )
        groups[image] = groups[known]
    return {image: groups[image] for image in scenes}
