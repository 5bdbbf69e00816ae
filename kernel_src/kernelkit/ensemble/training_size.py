"""The sizes of whole pictures that the members were trained with, against the recipe's pyramid.

A network of one size takes no other, and one that was trained at a size answers worse at others.
What a recipe leaves out is taken from the run folders: each run looks at the size of its training.
"""

import glob
from collections.abc import Sequence
from fnmatch import fnmatchcase

from kernelkit.checkpoints import Member
from kernelkit.ensemble.notes import Notes
from kernelkit.errors import RecipeError
from kernelkit.recipe import EnsembleRecipe, Gate, PyramidScale

__all__ = ["check_sizes", "with_trained_sizes"]


def with_trained_sizes(
    recipe: EnsembleRecipe, members: Sequence[Member], gate_members: Sequence[Member], notes: Notes
) -> EnsembleRecipe:
    """The recipe with the sizes in the run folders, if it leaves out its pyramid.

    It is for whole pictures only. The gate's size is taken from its own run folders.

    Raises
    ------
    RecipeError
        Some run folders say a size, and others do not.
    """
    sizes = _said_sizes(recipe, members)
    if sizes and "pyramid" not in recipe.model_fields_set:
        scales = [PyramidScale(size=size, runs=tuple(runs)) for size, runs in sizes.items()]
        recipe = recipe.model_copy(update={"pyramid": tuple(scales)})
        for size, runs in sizes.items():
            notes.add(_note_of_size(runs, size))
    gate_sizes = _said_sizes(recipe, gate_members)
    if gate_sizes and recipe.gate and recipe.gate.size is None:
        size, runs = next(iter(gate_sizes.items()))
        if size != recipe.pyramid[0].size:
            recipe = recipe.model_copy(update={"gate": _sized(recipe.gate, size)})
            notes.add(_note_of_size(runs, size))
    return recipe


def check_sizes(
    recipe: EnsembleRecipe, members: Sequence[Member], gate_members: Sequence[Member]
) -> None:
    """Refuse sizes of whole pictures that a member cannot take, or was not trained at.

    A size need not be a multiple of anything, since pictures are padded for the networks.

    Raises
    ------
    RecipeError
        A member looks at no picture of the size that it was trained at. Or it takes pictures of one
        size only, and the recipe gives it another.
    """
    for member in members:
        looks = (s for s in recipe.pyramid if any(fnmatchcase(member.run, p) for p in s.runs))
        sizes = [(scale.size[0], scale.size[1]) for scale in looks if scale.size]
        _check(recipe, member, sizes, "pyramid")
    first = recipe.pyramid[0].size
    size = (recipe.gate.size if recipe.gate else None) or first
    if size is not None:
        for member in gate_members:
            _check(recipe, member, [(size[0], size[1])], "gate")


def _check(
    recipe: EnsembleRecipe, member: Member, sizes: Sequence[tuple[int, int]], section: str
) -> None:
    shown = " and ".join(map(_shown, sizes))
    if member.size is not None and any(size != member.size for size in sizes):
        raise RecipeError(
            f"{recipe.name}: {member.path}: the network takes pictures of {_shown(member.size)} "
            f"only, but the recipe's {section} gives {shown}. Correct its size"
        )
    trained = member.trained_with.size
    if sizes and trained is not None and trained not in sizes:
        raise RecipeError(
            f"{recipe.name}: {member.name} was trained at size {_shown(trained)}, as "
            f"{member.trained_with.where('size')} says, but the recipe's {section} gives {shown}. "
            "Correct its size, or that file"
        )


def _said_sizes(
    recipe: EnsembleRecipe, members: Sequence[Member]
) -> dict[tuple[int, int], list[str]]:
    """Each size, and the runs whose folders say it, as patterns that match nothing else."""
    sizes: dict[tuple[int, int], list[str]] = {}
    silent = [member for member in members if member.trained_with.size is None]
    for member in members:
        size = member.trained_with.size
        if size is None:
            continue
        if silent:
            raise RecipeError(
                f"{recipe.name}: {member.trained_with.where('size')} says the size {_shown(size)} "
                f"of pictures, and the folder of {silent[0].name} says none. Write the sizes into "
                "the recipe"
            )
        runs = sizes.setdefault(size, [])
        if glob.escape(member.run) not in runs:
            runs.append(glob.escape(member.run))
    return sizes


def _sized(gate: Gate, size: tuple[int, int]) -> Gate:
    return gate.model_copy(update={"size": size})


def _note_of_size(runs: Sequence[str], size: Sequence[int]) -> str:
    return (
        f"the folders of {', '.join(runs)} say that pictures were of {_shown(size)}. The recipe "
        "says nothing, so this is used"
    )


def _shown(size: Sequence[int]) -> str:
    return " x ".join(map(str, size))
