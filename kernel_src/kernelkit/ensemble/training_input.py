"""What the members were trained with, against what the recipe gives them.

A run folder may say with which mean, standard deviation, bands and scale its network was trained. A
recipe that says otherwise would give a wrong mask without a word, so it is an error. If a recipe
leaves mean and std out, the run's are used.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from kernelkit.checkpoints import Member, TrainedWith
from kernelkit.ensemble.notes import Notes
from kernelkit.errors import RecipeError
from kernelkit.recipe import EnsembleRecipe, NetworkInput

__all__ = ["check_scale", "with_trained_input"]

# How far a mean may lie from the run's, in standard deviations, and how far two standard deviations
# may be apart. Recipes round to two digits.
_SAME = 0.05
_SETTINGS = {"mean", "std", "divide"}


def with_trained_input(
    recipe: EnsembleRecipe, members: Sequence[Member], notes: Notes
) -> EnsembleRecipe:
    """The recipe with the input of the members' run folders, if it leaves that out.

    Raises
    ------
    RecipeError
        A run folder says otherwise than the recipe, or than another run folder.
    """
    wanted = recipe.input
    # what run folders call a mean may be of the values before or after
    if wanted.decibel or wanted.minmax:
        return recipe
    if not _SETTINGS & wanted.model_fields_set:
        said = next((m for m in members if _is_complete(m.trained_with, wanted)), None)
        if said is not None:
            wanted = _of_run(said.trained_with, wanted)
            recipe = recipe.model_copy(update={"input": wanted})
            notes.add(
                f"{said.name}: its run folder says mean {_words(wanted.mean)} and std "
                f"{_words(wanted.std)} after a division by {wanted.divide:g}. The recipe says "
                "nothing, so these are used"
            )
    for member in members:
        _check(recipe, wanted, member)
    return recipe


def check_scale(recipe: EnsembleRecipe, members: Sequence[Member], scale: float) -> None:
    """Refuse tiles that are read at another scale than a member was trained at.

    Raises
    ------
    RecipeError
        No zoom of the pyramid makes up for it.
    """
    for member in members:
        trained = member.trained_with.scale
        seen = [
            scale / step.zoom
            for step in recipe.pyramid
            if any(fnmatchcase(member.run, pattern) for pattern in step.runs)
        ]
        if trained is None or any(abs(at / trained - 1) <= _SAME for at in seen):
            continue
        raise RecipeError(
            f"{recipe.name}: {member.name} was trained at scale {trained:g}, as its run folder "
            f"says, but the recipe reads at scale {', '.join(f'{at:g}' for at in seen)}. Correct "
            "the tiles' 'scale'"
        )


def _is_complete(said: TrainedWith, wanted: NetworkInput) -> bool:
    """Whether a run folder says a mean and a std for each of the bands."""
    lengths = {len(values or ()) for values in (said.mean, said.std)}
    return said.mean is not None and said.std is not None and lengths <= {1, len(wanted.bands)}


def _of_run(said: TrainedWith, wanted: NetworkInput) -> NetworkInput:
    """The input that a run folder says. Without a divisor, means far above 1 are of raw values."""
    count = len(wanted.bands)
    mean, std = (_per_band(values, count) for values in (said.mean or (), said.std or ()))
    divide = said.divide or (1.0 if max(*std, *(abs(m) for m in mean)) > 2 else wanted.divide)
    return wanted.model_copy(update={"mean": mean, "std": std, "divide": divide})


def _check(recipe: EnsembleRecipe, wanted: NetworkInput, member: Member) -> None:
    said = member.trained_with
    if said.bands is not None and said.bands != wanted.bands:
        _refuse(recipe, member, "bands", said.bands, wanted.bands, "bands")
    count = len(wanted.bands)
    # the values of which a run's mean is, if it does not say by what it divided: all that it can be
    divisors = (said.divide,) if said.divide else (wanted.divide, 1.0)
    if said.mean is None and said.std is None:
        if said.divide is not None and abs(said.divide / wanted.divide - 1) > _SAME:
            _refuse(recipe, member, "divide", said.divide, wanted.divide, "divide")
        return
    mean = None if said.mean is None else _per_band(said.mean, count)
    std = None if said.std is None else _per_band(said.std, count)
    if not any(_is_same(wanted, mean, std, divisor) for divisor in divisors):
        name = "std" if mean is None else "mean"
        values = (std if mean is None else mean) or ()
        _refuse(recipe, member, name, values, getattr(wanted, name), "mean, std and divide")


def _is_same(
    wanted: NetworkInput,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    divisor: float,
) -> bool:
    """Whether raw values are normalised alike. Both are compared as they apply to raw values."""
    count = len(wanted.bands)
    spreads = [value * wanted.divide for value in wanted.std]
    if std is not None:
        if len(std) != count:
            return False
        if any(abs(s * divisor / w - 1) > _SAME for s, w in zip(std, spreads, strict=True)):
            return False
    if mean is None:
        return True
    if len(mean) != count:
        return False
    centres = [value * wanted.divide for value in wanted.mean]
    return all(
        abs(m * divisor - c) <= _SAME * spread
        for m, c, spread in zip(mean, centres, spreads, strict=True)
    )


def _refuse(
    recipe: EnsembleRecipe, member: Member, name: str, said: Any, wanted: Any, keys: str
) -> None:
    raise RecipeError(
        f"{recipe.name}: {member.name} was trained with {name} {_words(said)}, as its run folder "
        f"says, but the recipe's input has {_words(wanted)}. Correct the input's {keys}"
    )


def _per_band(values: Sequence[float], count: int) -> tuple[float, ...]:
    return tuple(values) * count if len(values) == 1 else tuple(values)


def _words(values: Any) -> str:
    if isinstance(values, tuple | list):
        return f"[{', '.join(map(_words, values))}]"
    return values if isinstance(values, str) else f"{values:.4g}"
