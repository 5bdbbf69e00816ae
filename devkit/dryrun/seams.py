"""Whether stitching shows: a stitched mask against the same crop predicted in one piece."""

from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F

from devkit.dryrun.scenario import Scenario
from kernelkit.competition import CompetitionFolder, Row
from kernelkit.ensemble import MegaModel
from kernelkit.grid import Window
from kernelkit.mask import BitMask
from kernelkit.predict import load_models
from kernelkit.recipe import EnsembleRecipe, Recipe
from kernelkit.slide import Slide

__all__ = ["SEAM_HALF_WIDTH", "SeamDice", "compare_seams", "measure_seams"]

# In pixels. Pixels this close to a seam count as at the seam.
SEAM_HALF_WIDTH = 48


@dataclass(frozen=True, slots=True)
class SeamDice:
    """Dice of the stitched mask with the mask predicted in one piece.

    Attributes
    ----------
    crop
        The crop compared: two by two cores. One seam runs down its middle, and one across.
    at_seams, elsewhere
        Dice of the pixels within `SEAM_HALF_WIDTH` of a seam, and of all others.
    """

    crop: Window
    at_seams: float
    elsewhere: float


def measure_seams(scenario: Scenario, masks: dict[Row, BitMask]) -> SeamDice:
    """Compare the first image's stitched mask with a crop of it predicted in one piece.

    The crop is predicted on the CPU.
    """
    recipe = Recipe.load(scenario.recipe)
    test_set = CompetitionFolder.read(scenario.competition, recipe.competition)
    row = test_set.rows[0]
    models = load_models(recipe, scenario.models, device="cpu")
    with Slide(test_set.scenes[row.image].paths) as slide:
        ensemble = recipe.ensemble_for(slide.bands, str(slide.dtype))
        return compare_seams(slide, masks[row], recipe, ensemble, models[ensemble.name])


def compare_seams(
    slide: Slide, mask: BitMask, recipe: Recipe, ensemble: EnsembleRecipe, model: MegaModel
) -> SeamDice:
    """Predict two by two tiles of `slide` in one piece, and compare with the stitched `mask`.

    The crop lies on the tile grid, in the middle of the slide, with the recipe's pad around it.
    """
    core, pad, scale = recipe.tiles.core, recipe.tiles.pads[0], recipe.tiles.scale
    row = max(0, slide.height // core // 2 - 1) * core
    col = max(0, slide.width // core // 2 - 1) * core
    side = 2 * core
    read = Window(row - pad, col - pad, side + 2 * pad, side + 2 * pad)
    pixels = slide.read(read, scale=scale, fill=recipe.tiles.fill)
    probabilities = model.predict(pixels[None]).probabilities
    enlarged = F.interpolate(probabilities, scale_factor=scale, mode="bilinear")[0, 0]
    above = (enlarged > (ensemble.thresholds or (0.5,))[0]).cpu().numpy()

    height, width = min(side, slide.height - row), min(side, slide.width - col)
    whole = BitMask.from_array(above[pad : pad + height, pad : pad + width])
    stitched = mask.crop(row, col, height, width)
    near_seam = np.zeros((height, width), dtype=bool)
    near_seam[core - SEAM_HALF_WIDTH : core + SEAM_HALF_WIDTH] = True
    near_seam[:, core - SEAM_HALF_WIDTH : core + SEAM_HALF_WIDTH] = True
    near = BitMask.from_array(near_seam)
    return SeamDice(
        crop=Window(row, col, height, width),
        at_seams=(stitched & near).dice(whole & near),
        elsewhere=(stitched & ~near).dice(whole & ~near),
    )
