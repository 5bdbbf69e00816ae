"""What the run folders say about tiles, pictures and classes, against the recipe.

A model takes its input's bands and its sizes from its run folders by itself. What concerns the
whole recipe is filled in here, before the first image is opened.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from kernelkit.checkpoints import Member
from kernelkit.ensemble import MegaModel
from kernelkit.ensemble.training_answers import with_activation
from kernelkit.recipe import EnsembleRecipe, Recipe, Tiles

__all__ = ["contradictions", "with_trained"]


def with_trained(recipe: Recipe, models: Mapping[str, MegaModel]) -> tuple[Recipe, list[str]]:
    """The recipe with what it leaves out and the run folders of its models say.

    Returns
    -------
    The recipe, and a sentence on each value that was taken for its tiles.
    """
    ensembles = tuple(
        _filled(ensemble, models[ensemble.name].recipe) if ensemble.name in models else ensemble
        for ensemble in recipe.ensembles
    )
    tiles, notes = _tiles(recipe.tiles, [m for model in models.values() for m in model.members])
    return recipe.model_copy(update={"ensembles": ensembles, "tiles": tiles}), notes


def _filled(ensemble: EnsembleRecipe, loaded: EnsembleRecipe) -> EnsembleRecipe:
    """An ensemble with what its models were loaded with. Thresholds are its own."""
    same = {name: getattr(loaded, name) for name in ("input", "pyramid", "gate")}
    return with_activation(ensemble, loaded.activation).model_copy(update=same)


def _tiles(tiles: Tiles, members: list[Member]) -> tuple[Tiles, list[str]]:
    """The tiles with the scale or the pad, and the fill, that all run folders agree on."""
    taken: dict[str, Any] = {}
    notes = []
    for name in ("pad" if tiles.whole else "scale", "fill"):
        said = {value for m in members if (value := getattr(m.trained_with, name)) is not None}
        if name in tiles.model_fields_set or len(said) != 1:
            continue
        [value] = said
        if name == "scale":
            if value != int(value) or tiles.core % int(value) or tiles.pads[0] % int(value):
                continue
            value = int(value)
        if value == (tiles.pads if name == "pad" else getattr(tiles, name)):
            continue
        taken[name] = value
        where = next(m.trained_with for m in members if getattr(m.trained_with, name) == value)
        found = f"{where.where(name)}: the {name} is {value}"
        notes.append(f"{found}. The recipe says nothing, so this is used")
    return tiles.model_copy(update=taken), notes


def contradictions(recipe: Recipe, model: MegaModel) -> Iterator[str]:
    """What a recipe and the run folders of a model both say, and differ in."""
    firsts = {member.run: member for member in reversed(model.members)}  # folds say the same
    for member in firsts.values():
        said = member.trained_with
        pads = recipe.tiles.pads
        if recipe.tiles.whole and said.pad is not None and said.pad != pads:
            yield (
                f"{member.name} was trained with the pad {list(said.pad)}, as {said.where('pad')} "
                f"says, but the recipe's tiles have {list(pads)}. Correct one of them"
            )
        if recipe.tiles.whole and any(pads) and said.fill not in (None, recipe.tiles.fill):
            yield (
                f"{member.name} was trained with pads of {said.fill}, as {said.where('fill')} "
                f"says, but the recipe's tiles have the fill {recipe.tiles.fill}. Correct one of "
                "them"
            )
        yield from _other_classes(recipe, member)


def _other_classes(recipe: Recipe, member: Member) -> Iterator[str]:
    names, said = recipe.competition.classes, member.trained_with.classes
    if not names or said is None or len(said) != member.classes:
        return
    for label, name in zip(recipe.competition.labels, names, strict=True):
        if label < len(said) and said[label].casefold() != name.casefold():
            yield (
                f"{member.name} was trained with class number {label} as {said[label]}, as "
                f"{member.trained_with.where('classes')} says, but the recipe's classes have "
                f"{name} there. Correct 'classes' or 'submitted', or that file"
            )
            return
