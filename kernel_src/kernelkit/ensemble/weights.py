"""What each member, run and view weighs in a merge, as the recipe's patterns say."""

from fnmatch import fnmatchcase

from kernelkit.recipe import EnsembleRecipe

__all__ = ["flat_weight", "is_named", "weight_of"]


def is_named(name: str, pattern: str) -> bool:
    """Whether a pattern is about a run or a member. One for a fold is about all its checkpoints.

    >>> is_named("unet/fold_0/e30_0.93", "*/fold_0"), is_named("unet/fold_1/e30_0.93", "*/fold_0")
    (True, False)
    """
    fold = "/".join(name.split("/")[:2])
    return fnmatchcase(name, pattern) or fnmatchcase(fold, pattern)


def weight_of(recipe: EnsembleRecipe, name: str) -> float:
    """The weight of a run (`unet`) or a member (`unet/fold_0`) by the first pattern for it."""
    weights = recipe.weights.items()
    return next((weight for pattern, weight in weights if is_named(name, pattern)), 1.0)


def flat_weight(recipe: EnsembleRecipe, run: str, member: str) -> float:
    """The weight of a member beside all others: its run's weight times its own.

    A pattern without a slash is about runs, so it counts once, though it may match members too.
    """
    own = [(pattern, weight) for pattern, weight in recipe.weights.items() if "/" in pattern]
    return weight_of(recipe, run) * next(
        (weight for pattern, weight in own if is_named(member, pattern)), 1.0
    )
