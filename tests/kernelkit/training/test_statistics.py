"""Mean and std of the training windows, if a recipe leaves them to be found."""

from pathlib import Path

import numpy as np
import pytest

from kernelkit.training.cuts import make_cuts
from kernelkit.training.recipe import TrainingRecipe
from kernelkit.training.statistics import with_found_statistics
from tests.made.squares import write_squares


@pytest.mark.parametrize("fill", ["zero", "reflect"])
def test_what_lies_beside_the_images_does_not_count(tmp_path: Path, fill: str) -> None:
    """Windows that are larger than their images give the mean and std of the images' pixels."""
    competition = write_squares(tmp_path)
    recipe = tmp_path / "squares.yaml"
    recipe.write_text(recipe.read_text().replace("fill: reflect", f"fill: {fill}"))
    changes = ["windows={grid: {around: grid, size: 160}}"]
    [run] = TrainingRecipe.load(tmp_path / "train.yaml", changes).runs.values()
    cuts = make_cuts(run, competition, tmp_path / "cuts")
    assert len(cuts.kept) == len(cuts.images)
    flat = [image.read(image.bounds)[0].reshape(3, -1) for image in cuts.images.values()]
    pixels = np.concatenate(flat, 1) / 255
    found = with_found_statistics(run, cuts).input
    np.testing.assert_allclose(found.mean, pixels.mean(1), atol=1e-5)
    np.testing.assert_allclose(found.std, pixels.std(1), atol=1e-5)
