"""From a recipe to the members that it names, with a check that both agree."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from kernelkit.checkpoints import Member, Runtime, load_groups
from kernelkit.ensemble.notes import Notes
from kernelkit.ensemble.training_answers import with_trained_activation
from kernelkit.ensemble.training_input import with_trained_input
from kernelkit.ensemble.training_size import check_sizes, with_trained_sizes
from kernelkit.errors import CheckpointError, RecipeError
from kernelkit.recipe import EnsembleRecipe, MergeStep
from kernelkit.vocabulary import MergeMethod, choices

__all__ = ["Loaded", "changed", "load_for"]


@dataclass(frozen=True)
class Loaded:
    """The members of an ensemble, and its recipe with what their run folders say.

    Attributes
    ----------
    recipe
        What it left out is filled in.
    members, gate_members
        Those that answer with masks, and those of the gate.
    """

    recipe: EnsembleRecipe
    members: list[Member]
    gate_members: list[Member]


def changed(
    recipe: EnsembleRecipe, threshold: float | None, averaging_mode: MergeMethod | None
) -> EnsembleRecipe:
    """The recipe with another threshold, and another way to merge folds and models, if given.

    Raises
    ------
    RecipeError
        The threshold is not between 0 and 1, or there is no such averaging mode.
    """
    changes: dict[str, Any] = {}
    if threshold is not None:
        if not 0 < threshold < 1:
            raise RecipeError(f"the threshold is {threshold}. Give a number between 0 and 1")
        changes["thresholds"] = (threshold,)
    if averaging_mode is not None:
        if averaging_mode not in get_args(MergeMethod):
            raise RecipeError(
                f'there is no averaging mode "{averaging_mode}". Choose {choices(MergeMethod)}'
            )
        if averaging_mode == "tsharpen":
            raise RecipeError(
                'the averaging mode "tsharpen" needs a temperature. Write it into a recipe\'s '
                '"merge", such as "tsharpen(0.5) of probabilities"'
            )
        step = MergeStep(how=averaging_mode, of="probabilities")
        levels = ("members",) if recipe.merge.members else ("folds", "models")
        changes["merge"] = recipe.merge.model_copy(update=dict.fromkeys(levels, step))
    return recipe.model_copy(update=changes)


def load_for(
    recipe: EnsembleRecipe,
    folder: str | Path,
    notes: Notes,
    *,
    runtime: Runtime | None = None,
    own_input: bool = False,
    whole: bool = False,
) -> Loaded:
    """Load the members that a recipe names, and those of its gate. One member may be both.

    Parameters
    ----------
    notes
        Takes the members' notes, and what was read from their run folders.
    runtime
        Where programs run. None is on the CPU.
    own_input
        Whether the caller makes the networks' input, so that the recipe's input does not count.
    whole
        Whether they are asked about whole pictures, so that the sizes in run folders count.

    Raises
    ------
    CheckpointError, RecipeError
        As `load_groups`, or if recipe and members do not agree with each other.
    """
    gate = recipe.gate
    loaded, gate_members = load_groups(
        folder,
        [
            (recipe.runs, recipe.checkpoints),
            (gate.runs, gate.checkpoints or recipe.checkpoints) if gate else ((), "best"),
        ],
        programs=recipe.programs,
        runtime=runtime,
    )
    members = [member for member in loaded if member.kind != "classifier"]
    gate_runs = {member.run for member in gate_members}
    unused = [m for m in loaded if m.kind == "classifier" and m.run not in gate_runs]
    if unused:
        raise CheckpointError(
            f"{unused[0].name}: this is a classifier, which gives no masks. Name it in the "
            "recipe's 'gate', or leave it out of 'runs'"
        )
    if not members:
        raise CheckpointError(
            f"{folder}: the runs {', '.join(recipe.runs)} contain only classifiers. "
            "Name runs of segmenters"
        )
    everyone = [*members, *gate_members]
    for note in (note for member in everyone for note in member.notes):
        notes.add(note)
    if not own_input:
        recipe = with_trained_input(recipe, everyone, notes)
    recipe = with_trained_activation(recipe, members, notes)
    if whole:
        recipe = with_trained_sizes(recipe, members, gate_members, notes)
    check_sizes(recipe, members, gate_members)
    _check_agreement(recipe, members, own_input)
    return Loaded(recipe, members, gate_members)


def _check_agreement(recipe: EnsembleRecipe, members: Sequence[Member], own_input: bool) -> None:
    classes = {member.classes for member in members}
    if len(classes) > 1:
        counts = ", ".join(f"{member.name} {member.classes}" for member in members)
        raise CheckpointError(
            f"{recipe.name}: the members have different numbers of classes ({counts}). "
            "Name runs that have the same number"
        )
    if recipe.thresholds is not None and len(recipe.thresholds) not in (1, *classes):
        raise RecipeError(
            f"{recipe.name}: there are {len(recipe.thresholds)} thresholds for {classes.pop()} "
            "class(es). Give one for all classes, or one per class"
        )
    if recipe.activation == "softmax" and classes == {1}:
        raise RecipeError(
            f"{recipe.name}: a softmax over one class is 1 everywhere. Set its activation to "
            "sigmoid"
        )
    bands = len(recipe.input.bands)
    others = [m for m in members if m.channels != bands]
    if others and not own_input:
        raise RecipeError(
            f"{recipe.name}: {others[0].name} takes {others[0].channels} bands, but the recipe's "
            f"input gives {bands}. Correct the input's 'bands'"
        )
