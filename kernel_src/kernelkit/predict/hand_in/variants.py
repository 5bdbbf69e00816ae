"""The ways in which a recipe makes submissions of what is stored."""

from dataclasses import dataclass

from kernelkit.recipe import EnsembleRecipe, PostprocessStep, Recipe, Variant

__all__ = ["Way", "ways_of"]


@dataclass(frozen=True, slots=True)
class Way:
    """How masks are made of what is stored of the images of one ensemble.

    Attributes
    ----------
    ensemble
        Says how layers are merged, and what its gate calls empty.
    runs
        Glob patterns of the runs that are merged. None merges all.
    thresholds
        One per class or one for all. None chooses the likeliest class.
    steps
        What is done with finished masks.
    is_gated
        Whether what the gate finds empty gets an empty mask.
    is_gate
        Whether the mask is the first pixel, on if the gate does not find the image empty.
    """

    ensemble: EnsembleRecipe
    runs: tuple[str, ...] | None
    thresholds: tuple[float, ...] | None
    steps: tuple[PostprocessStep, ...]
    is_gated: bool = True
    is_gate: bool = False


def ways_of(recipe: Recipe) -> dict[str, dict[str, Way]]:
    """The ways of each submission, by its name and then by that of the ensemble.

    Without submissions there is one, with an empty name.
    """
    variants = recipe.submissions or {"": Variant()}
    return {
        name: {ensemble.name: _way(variant, ensemble) for ensemble in recipe.ensembles}
        for name, variant in variants.items()
    }


def _way(variant: Variant, ensemble: EnsembleRecipe) -> Way:
    return Way(
        ensemble,
        variant.runs,
        ensemble.thresholds if variant.thresholds is None else variant.thresholds,
        ensemble.postprocess if variant.postprocess is None else variant.postprocess,
        is_gated=variant.gate != "off",
        is_gate=variant.mask == "gate",
    )
