"""What the members' answers mean, as their run folders say, against the recipe's activation."""

from collections.abc import Sequence
from typing import Any

from kernelkit.checkpoints import Member
from kernelkit.ensemble.notes import Notes
from kernelkit.errors import RecipeError
from kernelkit.recipe import EnsembleRecipe

__all__ = ["with_activation", "with_trained_activation"]


def with_trained_activation(
    recipe: EnsembleRecipe, members: Sequence[Member], notes: Notes
) -> EnsembleRecipe:
    """The recipe with the activation in the run folders, if it leaves that out.

    Without thresholds of its own it gets the usual ones of that activation.

    Raises
    ------
    RecipeError
        A run folder says otherwise than the recipe, or than another run folder.
    """
    said = [member for member in members if member.trained_with.activation]
    where = "the recipe"
    if said and "activation" not in recipe.model_fields_set:
        first = said[0].trained_with
        where = first.where("activation")
        if first.activation != recipe.activation:
            notes.add(
                f"{where}: the activation is {first.activation}. The recipe says nothing, so this "
                "is used"
            )
        recipe = with_activation(recipe, first.activation)
    for member in said:
        trained = member.trained_with
        if trained.activation != recipe.activation:
            raise RecipeError(
                f"{recipe.name}: {member.name} was trained with a {trained.activation}, as "
                f"{trained.where('activation')} says, but {where} says {recipe.activation}. "
                "Correct one of them"
            )
    return recipe


def with_activation(recipe: EnsembleRecipe, activation: Any) -> EnsembleRecipe:
    """The recipe with another activation. Thresholds of its own stay as they are."""
    changes = {"activation": activation}
    if "thresholds" not in recipe.model_fields_set:
        # the usual ones are made again where the section is checked
        usual = EnsembleRecipe(name=recipe.name, activation=activation)
        changes["thresholds"] = usual.thresholds
    return recipe.model_copy(update=changes)
