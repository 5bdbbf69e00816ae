"""What each view adds: images are predicted again without it, out of fold as before."""

from collections.abc import Callable

from kernelkit.ensemble.tta import view_set
from kernelkit.evaluation.out_of_fold import OutOfFold
from kernelkit.evaluation.scored import MasksOf, ScoreTable, score_images
from kernelkit.recipe import EnsembleRecipe, Recipe

__all__ = ["leave_one_view_out"]


def leave_one_view_out(
    found: OutOfFold, predict: Callable[[Recipe], OutOfFold], truth: MasksOf
) -> dict[str, dict[str, ScoreTable]]:
    """The scores of all views, and without each.

    Parameters
    ----------
    found
        The predictions with all views.
    predict
        Predicts by another recipe, into the same store. So what does not change is kept.
    truth
        Gives the true masks of an image.

    Returns
    -------
    By ensemble, "all" and "without VIEW". An ensemble without images, with one view, or with
    `rotating` ones is left out.
    """
    recipe = found.recipe
    classes = recipe.competition.classes or ("",)
    scores: dict[str, dict[str, ScoreTable]] = {}
    for ensemble in recipe.ensembles:
        others = _without_each(ensemble)
        images = [
            image.image
            for image in found.report.images
            if image.ensemble == ensemble.name and not image.is_fallback
        ]
        if not images or not others:
            continue
        own = scores[ensemble.name] = {}
        masks = found.masks
        own["all"] = score_images(images, classes, masks.__getitem__, truth, masks.held)
        for name, changed in others.items():
            ensembles = tuple(changed if e is ensemble else e for e in recipe.ensembles)
            masks = predict(recipe.model_copy(update={"ensembles": ensembles})).masks
            own[name] = score_images(images, classes, masks.__getitem__, truth, masks.held)
    return scores


def _without_each(ensemble: EnsembleRecipe) -> dict[str, EnsembleRecipe]:
    """The ensemble without each of its views. It is empty if there would be none left."""
    views = view_set(ensemble.views)
    if views.rotating or len(views.views) < 2:
        return {}
    weights = views.weights or (1.0,) * len(views.views)
    changed = {}
    for number, view in enumerate(views.views):
        rest = {
            other.name: weight
            for place, (other, weight) in enumerate(zip(views.views, weights, strict=True))
            if place != number
        }
        changed[f"without {view.name}"] = ensemble.model_copy(
            update={"views": tuple(rest) if views.weights is None else rest}
        )
    return changed
