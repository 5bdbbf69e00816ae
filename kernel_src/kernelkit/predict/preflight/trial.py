"""Tried before the first tile: whether networks take what comes, and results fit on the disk."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from kernelkit.ensemble import MegaModel
from kernelkit.errors import CheckpointError, NetworkError, RecipeError
from kernelkit.predict.findings import Finding
from kernelkit.predict.work.survey import PictureKind, Survey
from kernelkit.recipe import Recipe, StorePlan

__all__ = ["full_disk", "tried_networks"]

# what one pixel of a packed mask takes in the store at most, and once more while it is written
_BYTES_PER_MASK_PIXEL = 2 / 8


def tried_networks(
    recipe: Recipe, models: Mapping[str, MegaModel], survey: Survey
) -> Iterator[Finding]:
    """Which networks do not take the tiles or pictures that will come.

    Of whole pictures the most frequent size is tried, and the smallest and the largest one.
    """
    for name, plan in _plans(recipe).items():
        kinds, model = survey.kinds_of(name), models.get(name)
        if model is None:
            continue
        if kinds and recipe.tiles.whole:
            by_area = sorted(kinds, key=lambda kind: kind.height * kind.width)
            tried = dict.fromkeys((kinds[0], by_area[0], by_area[-1]))
            reasons = {kind: _reason_against_picture(recipe, plan, model, kind) for kind in tried}
            for kind, reason in reasons.items():
                if reason:
                    size = f"{name}, pictures of {kind.height} x {kind.width}"
                    yield Finding(size, reason, is_error=kind == kinds[0])
        elif kinds and (reason := _reason_against_tiles(recipe, plan, model, kinds[0])):
            yield Finding(name, reason, is_error=True)


def full_disk(
    output: Path, recipe: Recipe, models: Mapping[str, MegaModel], survey: Survey
) -> Iterator[Finding]:
    """Whether what the store keeps fits on the disk."""
    plans = _plans(recipe)

    def stored_bytes(kind: PictureKind) -> float:
        model = models.get(kind.ensemble)
        return _stored_bytes(recipe, plans[kind.ensemble], model, kind) if model else 0.0

    free, wanted = shutil.disk_usage(output).free, survey.total(stored_bytes)
    if free < wanted:
        what = " and ".join(dict.fromkeys(plan.what for plan in plans.values()))
        message = f"{free / 1e9:.2f} GB are free, and the {what} may take {wanted / 1e9:.2f} GB"
        yield Finding(str(output), f"{message}. Make room")


def _plans(recipe: Recipe) -> dict[str, StorePlan]:
    return {ensemble.name: recipe.plan_for(ensemble) for ensemble in recipe.ensembles}


def _stored_bytes(recipe: Recipe, plan: StorePlan, model: MegaModel, kind: PictureKind) -> float:
    """What an image takes in the store at most."""
    height, width = plan.size or (kind.height, kind.width)
    if plan.what == "masks":
        return height * width * model.classes * _BYTES_PER_MASK_PIXEL
    if plan.at == "network" and recipe.tiles.whole:
        pads = sum(recipe.tiles.pads)
        height, width = model.sizes(kind.height + pads, kind.width + pads)[0]
    elif plan.at == "network":
        height, width = (-(-side // recipe.tiles.scale) for side in (kind.height, kind.width))
    return height * width * model.classes * len(model.layers(plan.level))


def _reason_against_tiles(
    recipe: Recipe, plan: StorePlan, model: MegaModel, kind: PictureKind
) -> str:
    """Why a model does not take tiles of an image. Empty if it does."""
    side = recipe.tiles.tile // recipe.tiles.scale
    try:
        model.check_scale(recipe.tiles.scale)
        model.get_ready(
            (kind.bands, side, side),
            np.dtype(kind.dtype),
            with_spread=recipe.disagreement,
            level=plan.level,
        )
    except (CheckpointError, NetworkError, RecipeError) as error:
        return str(error)
    except RuntimeError:
        pass  # the device's memory ran out: the model makes room when the first tile comes
    return ""


def _reason_against_picture(
    recipe: Recipe, plan: StorePlan, model: MegaModel, kind: PictureKind
) -> str:
    """Why a model does not take whole pictures of a kind. Empty if it does."""
    pads, own = recipe.tiles.pads, (kind.height, kind.width)
    sizes = model.sizes(*(side + sum(pads) for side in own))
    bands = model.recipe.input.highest_band
    try:
        model.get_ready_for_pictures(
            [(bands, *size) for size in sizes],
            np.dtype(kind.dtype),
            crop=pads,
            source=own,
            size=None if plan.at == "network" else plan.size or own,
            with_spread=recipe.disagreement,
            level=plan.level,
        )
    except (CheckpointError, NetworkError, RecipeError) as error:
        return str(error)
    except RuntimeError:
        pass  # the device's memory ran out: the model makes room when the first picture comes
    return ""
