"""From what train.yaml says to a run: what follows from the recipe that predicts with it."""

import difflib
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

from kernelkit.recipe import Competition, EnsembleRecipe, NetworkInput, Recipe, Tiles
from kernelkit.recipe.bands import same_bands
from kernelkit.recipe.words import Patterns
from kernelkit.training.recipe.run import RunRecipe
from kernelkit.training.recipe.settings import InputChanges, RunSettings
from kernelkit.training.recipe.windows import Source, WindowSource

__all__ = ["resolved"]

# A key of the input is read from run folders only if the recipe that predicts says none of these.
_BELONGS = {
    "bands": ("mean", "std"),
    "decibel": ("mean", "std", "divide", "minmax"),
    "minmax": ("mean", "std", "divide", "decibel"),
    "divide": ("mean", "std"),
    "mean": ("divide", "std"),
    "std": ("divide", "mean"),
}


def resolved(name: str, settings: RunSettings, recipe: Recipe) -> RunRecipe:
    """Return a run with everything that the recipe says about it.

    Raises
    ------
    ValueError
        The two contradict each other, with a sentence.
    """
    ensemble = _ensemble(settings, recipe)
    _check_name(name, settings, ensemble)
    network_input, is_auto = _input(settings.input, ensemble)
    windows = settings.windows or _usual_windows(recipe.tiles)
    is_gate = settings.task == "classify"
    per_class = is_gate and ensemble.gate is not None and ensemble.gate.per_class
    content: dict[str, Any] = {
        field.alias or key: getattr(settings, key)
        for key, field in RunSettings.model_fields.items()
        if key != "input" and key in settings.model_fields_set
    }
    content |= {
        "name": name,
        "predicts": recipe.name,
        "ensemble": ensemble.name,
        "competition": _competition(settings, recipe),
        "tiles": _tiles(name, recipe.tiles, ensemble),
        "input": network_input,
        "auto_statistics": is_auto,
        "size": _size(name, settings, recipe.tiles, ensemble),
        "activation": "sigmoid" if per_class else "softmax" if is_gate else ensemble.activation,
        "nodata": recipe.nodata,
        "when": ensemble.when,
        "gate": ensemble.gate if is_gate else None,
        "windows": windows,
        "sources": _sources(settings, windows),
        "validate": _validate(settings),
        "keep": _keep(settings, ensemble),
    }
    return RunRecipe.model_validate(content)


def _ensemble(settings: RunSettings, recipe: Recipe) -> EnsembleRecipe:
    names = [ensemble.name for ensemble in recipe.ensembles]
    if settings.ensemble is None:
        if len(names) > 1:
            raise ValueError(
                f"the key ensemble is missing, and {recipe.name} has the ensembles"
                f" {', '.join(names)}. Name one of them"
            )
        return recipe.ensembles[0]
    if settings.ensemble not in names:
        raise ValueError(
            f"found the ensemble {settings.ensemble:.60}, which {recipe.name} does not have."
            f" {did_you_mean(settings.ensemble, names)}"
        )
    return recipe.ensembles[names.index(settings.ensemble)]


def _check_name(name: str, settings: RunSettings, ensemble: EnsembleRecipe) -> None:
    """Refuse a run that the recipe would not find among the run folders."""
    if settings.task == "classify":
        if ensemble.gate is None:
            raise ValueError(
                f"found task classify, but the ensemble {ensemble.name} has no gate. Add one, or"
                " write task: segment"
            )
        where, patterns = f"the gate of {ensemble.name}", ensemble.gate.runs
    else:
        where, patterns = f"the ensemble {ensemble.name}", ensemble.runs
    if not _matches(name, patterns):
        raise ValueError(
            f"found the run {name:.60}, but {where} takes {', '.join(patterns)}. Rename the run, or"
            " correct its task"
        )


def _matches(name: str, patterns: Patterns) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _competition(settings: RunSettings, recipe: Recipe) -> Competition:
    content = recipe.competition.model_dump(exclude_unset=True)
    return Competition.model_validate(content | {"images": settings.images})


def _tiles(name: str, tiles: Tiles, ensemble: EnsembleRecipe) -> Tiles:
    """The recipe's tiles at the scale of the run, which a zoom of the pyramid may change."""
    if tiles.whole:
        return tiles
    zooms = {scale.zoom for scale in ensemble.pyramid if _matches(name, scale.runs)}
    scales = sorted({tiles.scale / zoom for zoom in zooms}) or [float(tiles.scale)]
    if len(scales) > 1 or not scales[0].is_integer():
        raise ValueError(
            f"found that {name} looks at the scale {' and '.join(f'{s:g}' for s in scales)} of the"
            " images, wanted one whole number. Name its runs in the recipe's pyramid"
        )
    return Tiles.model_validate(tiles.model_dump(exclude_unset=True) | {"scale": int(scales[0])})


def _size(
    name: str, settings: RunSettings, tiles: Tiles, ensemble: EnsembleRecipe
) -> tuple[int, ...] | None:
    """Height and width at which the run sees whole pictures, their pads among them."""
    given = settings.size
    if not tiles.whole:
        if given is not None:
            raise ValueError(
                f"found the size {list(given)} with tiles, which are read at a scale. Leave it out"
            )
        return None
    if settings.task == "classify":
        gate = ensemble.gate.size if ensemble.gate else None
        sizes = {gate or ensemble.pyramid[0].size}
    else:
        sizes = {scale.size for scale in ensemble.pyramid if _matches(name, scale.runs)}
    shown = " and ".join(f"{s[0]} x {s[1]}" for s in sorted(s for s in sizes if s is not None))
    if given is not None:
        if "pyramid" in ensemble.model_fields_set and given not in sizes:
            raise ValueError(
                f"found the size {given[0]} x {given[1]}, but the recipe gives this run"
                f" {shown or 'pictures as they are'}. Correct one of them"
            )
        return given
    if len(sizes) != 1:
        raise ValueError(
            f"found that the recipe gives {name} {shown or 'no size of its pyramid'}. Add size, or"
            " rename the run"
        )
    return sizes.pop()


def _input(changes: InputChanges, ensemble: EnsembleRecipe) -> tuple[NetworkInput, bool]:
    """What the network is given, and whether its mean and std are still to be found."""
    said = ensemble.input.model_dump(exclude_unset=True)
    given = changes.model_dump(exclude_none=True)
    is_auto = "auto" in (given.get("mean"), given.get("std"))
    if is_auto:
        if given.get("mean", "auto") != "auto" or given.get("std", "auto") != "auto":
            raise ValueError("found one of mean and std as auto, wanted both or none")
        given |= {"mean": "auto", "std": "auto"}
    for key in given:
        if key in said and not _same(key, said[key], given[key]):
            raise ValueError(
                f"found input.{key} {_shown(given[key])}, but the recipe that predicts says"
                f" {_shown(said[key])}. Leave it out in one of them"
            )
    _refuse_unread(said, given, ensemble.input)
    content = said | given
    if is_auto:
        bands = len(content.get("bands", NetworkInput().bands))
        content |= {"mean": (0.0,) * bands, "std": (1.0,) * bands}
    network_input = NetworkInput.model_validate(content)
    held = ensemble.when.bands
    if held is not None and network_input.highest_band > held:
        raise ValueError(
            f"found band {network_input.highest_band} in input.bands, but the recipe says that"
            f" images have {held}. Correct one of them"
        )
    return network_input, is_auto


def _refuse_unread(said: dict[str, Any], given: dict[str, Any], own: NetworkInput) -> None:
    """Refuse what inference does not read from run folders, because the recipe says its like.

    A mean is of certain bands and values. So a recipe that says one of these means them all.
    """
    for key, value in given.items():
        other = next((name for name in _BELONGS.get(key, ()) if name in said), None)
        if other is not None and key not in said and not _same(key, getattr(own, key), value):
            raise ValueError(
                f"found input.{key} here and {other} in the recipe that predicts, which then takes"
                f" no {key} from the run folder. Write both in one of them"
            )


def _same(key: str, said: Any, given: Any) -> bool:
    return same_bands(said, given) if key == "bands" else bool(said == given)


def _shown(value: Any) -> str:
    return str(list(value)) if isinstance(value, tuple) else str(value)


def _usual_windows(tiles: Tiles) -> dict[str, WindowSource]:
    if not tiles.whole:
        raise ValueError(
            "the key windows is missing. Add it, such as windows: {grid: {around: grid, size: 512}}"
        )
    return {"whole": WindowSource(around="picture")}


def _sources(settings: RunSettings, windows: dict[str, WindowSource]) -> dict[str, Source]:
    """The sources, each with the name of its windows."""
    if not settings.sources:
        return {name: Source(windows=name) for name in windows}
    sources = {}
    for name, source in settings.sources.items():
        wanted = source.windows or (name if name in windows else None)
        if wanted is None and source.pseudo is not None and len(windows) == 1:
            wanted = next(iter(windows))
        if wanted not in windows:
            raise ValueError(
                f"found the source {name:.60} of the windows {wanted or name:.60}, which do not"
                f" exist. {did_you_mean(wanted or name, windows)}"
            )
        sources[name] = source.model_copy(update={"windows": wanted})
    return sources


def _validate(settings: RunSettings) -> Any:
    """How weights are judged: a classifier by its accuracy, if nothing else is said."""
    validate = settings.validate_
    if validate is None or settings.task == "segment" or "metric" in validate.model_fields_set:
        return validate
    return validate.model_copy(update={"metric": "accuracy"})


def _keep(settings: RunSettings, ensemble: EnsembleRecipe) -> tuple[str, ...]:
    """Which checkpoints are saved beside the snapshots, which the last and the best may equal."""
    if not settings.schedule.snapshots:
        return settings.keep
    if "keep" not in settings.model_fields_set:
        return ()
    gate = ensemble.gate if settings.task == "classify" else None
    taken = (gate.checkpoints if gate else None) or ensemble.checkpoints
    if settings.keep and taken == "all":
        raise ValueError(
            f"found keep {' and '.join(settings.keep)} with snapshots, and a recipe that takes all"
            " checkpoints. The weights of a snapshot would count twice. Leave out keep"
        )
    return settings.keep


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return what to do about a name that is not known."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"Did you mean {close[0]}?" if close else f"Known here are {', '.join(known)}"
