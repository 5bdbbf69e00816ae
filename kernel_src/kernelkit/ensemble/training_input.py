"""What the members were trained with, against what the recipe gives them.

A run folder may say with which bands, mean and standard deviation its network was trained, and
whether these are of decibels. It may also say at which scale or size, and how pictures came to
that. A recipe that says otherwise would give a wrong mask without a word, so it is an error. What a
recipe leaves out is taken from the run folders.
"""

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from pydantic import ValidationError

from kernelkit.checkpoints import Member, TrainedWith
from kernelkit.ensemble.notes import Notes
from kernelkit.errors import RecipeError
from kernelkit.recipe import EnsembleRecipe, NetworkInput
from kernelkit.recipe.bands import checked_band, same_bands
from kernelkit.recipe.network import Decibel, MinMax
from kernelkit.recipe.section import Section

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
    for fill in (_with_bands, _with_values, _with_statistics, _with_resampling):
        filled, taken = fill(wanted, members)
        if taken is not None:
            notes.add(f"{taken}. The recipe says nothing, so this is used")
        wanted = filled
    if not len(wanted.bands) == len(wanted.mean) == len(wanted.std):
        raise RecipeError(
            f"{recipe.name}: the run folders say {len(wanted.bands)} bands, and no mean and std "
            f"for them. Write the input's mean and std, with {len(wanted.bands)} values each"
        )
    when = recipe.when.bands
    if when is not None and wanted.highest_band > when:
        raise RecipeError(
            f"{recipe.name}: the run folders say band {wanted.highest_band}, but when.bands says "
            f"that images have {when}. Correct one of them"
        )
    for member in members:
        _check(recipe, wanted, member)
    return recipe.model_copy(update={"input": wanted}) if wanted != recipe.input else recipe


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
            f"{recipe.name}: {member.name} was trained at scale {trained:g}, as "
            f"{member.trained_with.where('scale')} says, but the recipe reads at scale "
            f"{', '.join(f'{at:g}' for at in seen)}. Correct the tiles' 'scale'"
        )


# The input with what run folders say, and where that was found, in words.
type _Filled = tuple[NetworkInput, str | None]


def _with_bands(wanted: NetworkInput, members: Sequence[Member]) -> _Filled:
    # a mean is of the bands in their order, so a recipe that says it means its own bands
    if {"bands", "mean", "std"} & wanted.model_fields_set:
        return wanted, None
    for member in members:
        bands = _bands_of(member.trained_with)
        if bands is not None:
            where = member.trained_with.where("bands")
            return _changed(wanted, bands=bands), f"{where}: the bands are {_words(bands)}"
    return wanted, None


def _with_values(wanted: NetworkInput, members: Sequence[Member]) -> _Filled:
    # a mean is of decibels or of pixels, so a recipe that says it means its own values
    if {"decibel", "minmax", *_SETTINGS} & wanted.model_fields_set:
        return wanted, None
    for member in members:
        values = _values_of(member.trained_with)
        if values is not None and any(values):
            decibel, minmax = values
            name = "decibel" if decibel else "minmax"
            where = member.trained_with.where(name)
            note = f"{where}: the network was trained on values of {name}"
            return _changed(wanted, decibel=decibel, minmax=minmax), note
    return wanted, None


def _with_statistics(wanted: NetworkInput, members: Sequence[Member]) -> _Filled:
    if _SETTINGS & wanted.model_fields_set:
        return wanted, None
    known = [m.trained_with for m in members if not _may_be_of_others(m.trained_with, wanted)]
    said = next((said for said in known if _is_complete(said, wanted)), None)
    if said is None:
        return wanted, None
    filled = _of_run(said, wanted)
    divided = "" if _is_of_others_than_pixels(wanted) else f" after a division by {filled.divide:g}"
    return filled, (
        f"{said.where('mean')}: the mean is {_words(filled.mean)} and the std {_words(filled.std)}"
        f"{divided}"
    )


def _with_resampling(wanted: NetworkInput, members: Sequence[Member]) -> _Filled:
    said = next((m.trained_with for m in members if m.trained_with.resample), None)
    if said is None or said.resample is None or "resample" in wanted.model_fields_set:
        return wanted, None
    note = f"{said.where('resample')}: pictures were resized by {said.resample}"
    return _changed(wanted, resample=said.resample), note


def _changed(wanted: NetworkInput, **values: Any) -> NetworkInput:
    return wanted.model_copy(update=values)


def _may_be_of_others(said: TrainedWith, wanted: NetworkInput) -> bool:
    """Whether what a run folder calls a mean may be of other values than the recipe's."""
    values = _values_of(said)
    if values is None:
        return _is_of_others_than_pixels(wanted)
    return values != (wanted.decibel, wanted.minmax)


def _is_of_others_than_pixels(wanted: NetworkInput) -> bool:
    return bool(wanted.decibel or wanted.minmax)


def _values_of(said: TrainedWith) -> tuple[Decibel | bool, MinMax | None] | None:
    """What a run folder says of decibels, and of least and greatest values. None if nothing."""
    if said.decibel is None or said.minmax is None:
        return None
    try:
        decibel: Decibel | bool = (
            Decibel.model_validate(dict(said.decibel)) if said.decibel else False
        )
        return decibel, MinMax.model_validate(dict(said.minmax)) if said.minmax else None
    except ValidationError:
        return None


def _bands_of(said: TrainedWith) -> tuple[int | str, ...] | None:
    """The bands that a run folder says, as a recipe writes them. None for names of another kind."""
    try:
        return None if said.bands is None else tuple(checked_band(band) for band in said.bands)
    except ValueError:
        return None


def _is_complete(said: TrainedWith, wanted: NetworkInput) -> bool:
    """Whether a run folder says a mean and a std for each of the bands."""
    lengths = {len(values or ()) for values in (said.mean, said.std)}
    return said.mean is not None and said.std is not None and lengths <= {1, len(wanted.bands)}


def _of_run(said: TrainedWith, wanted: NetworkInput) -> NetworkInput:
    """The input that a run folder says. Without a divisor, means far above 1 are of raw values."""
    count = len(wanted.bands)
    mean, std = (_per_band(values, count) for values in (said.mean or (), said.std or ()))
    if _is_of_others_than_pixels(wanted):  # nothing is divided
        return _changed(wanted, mean=mean, std=std)
    divide = said.divide or (1.0 if max(*std, *(abs(m) for m in mean)) > 2 else wanted.divide)
    return _changed(wanted, mean=mean, std=std, divide=divide)


def _check(recipe: EnsembleRecipe, wanted: NetworkInput, member: Member) -> None:
    said = member.trained_with
    bands = _bands_of(said)
    if bands is not None and not same_bands(bands, wanted.bands):
        _refuse(recipe, member, "bands", bands, wanted.bands, "bands")
    if said.resample is not None and said.resample != wanted.resample:
        _refuse(recipe, member, "resample", said.resample, wanted.resample, "resample")
    values = _values_of(said)
    for name, value in zip(("decibel", "minmax"), values or (), strict=False):
        if value != getattr(wanted, name):
            _refuse(recipe, member, name, value, getattr(wanted, name), name)
    if not _may_be_of_others(said, wanted):
        _check_statistics(recipe, wanted, member)


def _check_statistics(recipe: EnsembleRecipe, wanted: NetworkInput, member: Member) -> None:
    said, count = member.trained_with, len(wanted.bands)
    if _is_of_others_than_pixels(wanted):  # nothing was divided
        said, wanted = replace(said, divide=1.0), _changed(wanted, divide=1.0)
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
    where = member.trained_with.where(name)
    raise RecipeError(
        f"{recipe.name}: {member.name} was trained with {name} {_words(said)}, as {where} says, "
        f"but the recipe's input has {_words(wanted)}. Correct the input's {keys}, or that file"
    )


def _per_band(values: Sequence[float], count: int) -> tuple[float, ...]:
    return tuple(values) * count if len(values) == 1 else tuple(values)


def _words(values: Any) -> str:
    if isinstance(values, tuple | list):
        return f"[{', '.join(_words(value) for value in values)}]"
    if isinstance(values, Section):
        return f"{{{', '.join(f'{key}: {value}' for key, value in values)}}}"
    if isinstance(values, str):
        return values
    if values is None or values is False:
        return "none"
    return f"{values:.4g}"
