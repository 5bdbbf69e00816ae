"""What submissions, models and other stores contradict each other in, before the first tile."""

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase

from kernelkit.ensemble import MegaModel
from kernelkit.ensemble.layers import level_of, runs_of
from kernelkit.errors import KernelKitError, RecipeError
from kernelkit.predict.hand_in.own_steps import known_steps
from kernelkit.predict.hand_in.postprocess import check_steps
from kernelkit.predict.hand_in.variants import Way, ways_of
from kernelkit.predict.store.other_stores import OtherStores
from kernelkit.recipe import Competition, Recipe

__all__ = ["check_submissions", "rows_problem"]

# bands of a picture whose recipe does not say how many there are
_COLOURS = 3


def check_submissions(
    recipe: Recipe, models: Mapping[str, MegaModel], others: OtherStores
) -> Iterator[tuple[str, str]]:
    """Iterate over what is wrong: what it is about, and a sentence.

    Parameters
    ----------
    models
        One per ensemble. None at all if the run only merges stores.
    others
        The stores of other runs.
    """
    own: dict[str, tuple[str, ...]] = {}
    for ensemble in recipe.ensembles:
        plan = recipe.plan_for(ensemble)
        if others and plan.what == "masks" and models:
            yield (
                ensemble.name,
                "stores were given to merge with, but the recipe stores masks. Write 'store: {what:"
                " probabilities, level: member}'",
            )
            return
        if ensemble.name in models and plan.what == "probabilities":
            try:
                own[ensemble.name] = models[ensemble.name].layers(plan.level)
            except RecipeError as error:
                yield ensemble.name, str(error)
                return
    if not models:
        yield from _what_stores_lack(recipe, others)
    is_free = any(variant.gate == "off" for variant in recipe.submissions.values())
    if is_free and any(layers.is_gated for layers in others.layers):
        yield (
            "stores",
            "a submission is without the gate, but their runs asked no network about what the gate"
            " found empty. Add a submission with 'gate: off' to their recipe too",
        )
    asked = next((model.classes for model in models.values()), None)
    for problem in others.problems(own, asked):
        yield "stores", problem
    for ensemble in recipe.ensembles:
        of_ensemble = ensemble.name if len(recipe.ensembles) > 1 else None
        names = own.get(ensemble.name, ()) + others.names(of_ensemble)
        model = models.get(ensemble.name)
        classes = others.classes if model is None else model.classes
        for name, ways in ways_of(recipe).items():
            if name or not models:  # else the preflight has looked at it
                subject = f"submissions.{name}" if name else ensemble.name
                for problem in _problems(ways[ensemble.name], names, classes or 1, recipe):
                    yield subject, problem


def rows_problem(who: str, classes: int, competition: Competition) -> str:
    """Why the rows of an image cannot be about the classes of answers. Empty if they can.

    Parameters
    ----------
    who
        Whose answers they are, with a verb, such as "its models answer with".
    """
    rows = len(competition.labels)
    if not competition.submitted and rows != classes:
        return (
            f"{who} {classes} class(es), but the recipe submits {rows} row(s) per image. Correct "
            "'classes', or say in 'submitted' which classes are submitted"
        )
    if max(competition.labels) >= classes:
        return (
            f"class number {max(competition.labels)} is submitted, but {who} {classes} class(es), "
            "counted from 0. Correct 'submitted'"
        )
    return ""


def _what_stores_lack(recipe: Recipe, others: OtherStores) -> Iterator[tuple[str, str]]:
    """What a run that only merges stores needs, and none of them has."""
    if others.classes is not None:
        problem = rows_problem("the layers in the stores have", others.classes, recipe.competition)
        if problem:
            yield "stores", problem
    gated = [ensemble.name for ensemble in recipe.ensembles if ensemble.gate is not None]
    if gated and recipe.tiles.whole and all(layers.gate is None for layers in others.layers):
        yield (
            gated[0],
            "its gate's answer is in none of the stores. Attach the output of a run with the gate,"
            " or leave out 'gate'",
        )


def _problems(way: Way, names: tuple[str, ...], classes: int, recipe: Recipe) -> Iterator[str]:
    ensemble = way.ensemble
    if way.thresholds is not None and len(way.thresholds) not in (1, classes):
        yield (
            f"it has {len(way.thresholds)} thresholds for {classes} class(es) of {ensemble.name}. "
            "Give one for all, or one per class"
        )
    if names and level_of(names) != "ensemble":
        yield from _runs(way, names)
    kind = ensemble.when
    try:
        check_steps(
            way.steps,
            classes,
            known_steps(recipe.steps),
            bands=kind.bands or _COLOURS,
            dtype=kind.dtype or "uint8",
            has_probabilities=recipe.plan_for(ensemble).what == "probabilities",
        )
    except KernelKitError as error:
        yield str(error)


def _runs(way: Way, names: tuple[str, ...]) -> Iterator[str]:
    """Which patterns of runs match none of the stored layers."""
    try:
        runs = runs_of(way.ensemble, names)
    except RecipeError as error:
        yield str(error)
        return
    unmatched = [p for p in way.runs or () if not any(fnmatchcase(run, p) for run in runs)]
    if unmatched:
        yield (
            f"no run of {way.ensemble.name} matches {', '.join(unmatched)} (there are "
            f"{', '.join(sorted(set(runs)))}). Correct 'runs'"
        )
