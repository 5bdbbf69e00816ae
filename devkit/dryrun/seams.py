"""Whether stitching shows: a stitched mask against the same crop predicted in one piece."""

from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F

from kernelkit.ensemble import MegaModel
from kernelkit.grid import Window
from kernelkit.mask import BitMask
from kernelkit.recipe import EnsembleRecipe, Recipe
from kernelkit.slide import Slide

__all__ = ["SeamReport", "compare_seams"]

_SEAM_HALF_WIDTH = 48


@dataclass(frozen=True, slots=True)
class SeamReport:
    """Dice of the stitched mask with the mask predicted in one piece.

    Attributes
    ----------
    crop
        The crop compared: two by two cores, so that a seam runs down and one across its middle.
    at_seams, elsewhere
        Dice of the pixels within 48 px of a seam, and of all others.
    """

    crop: Window
    at_seams: float
    elsewhere: float


def compare_seams(
    slide: Slide, mask: BitMask, recipe: Recipe, ensemble: EnsembleRecipe, model: MegaModel
) -> SeamReport:
    """Predict two by two tiles of `slide` in one piece, and compare with the stitched `mask`.

    The crop lies on the tile grid, in the middle of the slide, with the recipe's pad around it.
    """
    core, pad, scale = recipe.tiles.core, recipe.tiles.pad, recipe.tiles.scale
    row = max(0, slide.height // core // 2 - 1) * core
    col = max(0, slide.width // core // 2 - 1) * core
    side = 2 * core
    read = Window(row - pad, col - pad, side + 2 * pad, side + 2 * pad)
    pixels = slide.read(read, scale=scale, fill=recipe.tiles.fill)
    probabilities = model.predict(pixels[None])
    enlarged = F.interpolate(probabilities, scale_factor=scale, mode="bilinear")[0, 0]
    whole = (enlarged > ensemble.thresholds[0]).cpu().numpy()[pad : pad + side, pad : pad + side]

    height, width = min(side, slide.height - row), min(side, slide.width - col)
    stitched = mask.crop(row, col, height, width).to_array().astype(bool)
    whole = whole[:height, :width]
    near = np.zeros((height, width), dtype=bool)
    near[core - _SEAM_HALF_WIDTH : core + _SEAM_HALF_WIDTH] = True
    near[:, core - _SEAM_HALF_WIDTH : core + _SEAM_HALF_WIDTH] = True
    return SeamReport(
        crop=Window(row, col, height, width),
        at_seams=_dice(stitched & near, whole & near),
        elsewhere=_dice(stitched & ~near, whole & ~near),
    )


def _dice(a: np.ndarray, b: np.ndarray) -> float:
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else 1.0
