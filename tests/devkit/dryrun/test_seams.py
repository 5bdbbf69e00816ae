from pathlib import Path

import numpy as np
import pytest

from devkit.demo.layouts import write
from devkit.dryrun.seams import compare_seams
from kernelkit.grid import Window
from kernelkit.mask import BitMask
from kernelkit.predict import load_models
from kernelkit.recipe import Recipe
from kernelkit.slide import Slide
from tests.made.competition import RECIPE, write_models

CROP = Window(64, 64, 128, 128)


def test_a_difference_at_a_seam_is_found_there(tmp_path: Path) -> None:
    """A mask of one piece agrees with itself, and one changed pixel counts where it lies."""
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    recipe = Recipe.load(tmp_path / "recipe.yaml")
    model = load_models(recipe, write_models(tmp_path / "models"), device="cpu")["one"]
    pixels = np.random.default_rng(0).integers(0, 255, (3, 256, 256), dtype=np.uint8)
    with Slide(write(tmp_path / "a.tiff", pixels)) as slide:
        read = slide.read(Window(32, 32, 192, 192))
        answers = model.predict(read[None])
        whole = answers.probabilities[0, 0, 32:160, 32:160].cpu().numpy()
        mask = BitMask.zeros(256, 256)
        mask.paste(CROP.row, CROP.col, whole, threshold=0.5)
        same = compare_seams(slide, mask, recipe, recipe.ensembles[0], model)
        pixel = mask.crop(CROP.row, CROP.col, 1, 1)
        mask.paste(CROP.row, CROP.col, ~pixel)
        other = compare_seams(slide, mask, recipe, recipe.ensembles[0], model)
    assert 0 < mask.area < 128 * 128
    assert same.crop == CROP
    assert (same.at_seams, same.elsewhere) == (1, 1)
    assert other.at_seams == 1
    assert other.elsewhere == pytest.approx(1, abs=0.1)
    assert other.elsewhere < 1
