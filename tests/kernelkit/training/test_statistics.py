"""Mean and std of the training windows, if a recipe leaves them to be found."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from kernelkit.training.cuts import make_cuts
from kernelkit.training.recipe import TrainingRecipe
from kernelkit.training.statistics import odd_statistics, with_found_statistics
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


GIVEN = "input={bands: [3, 2, 1], divide: %s, mean: [0.2, 0.2, 0.2], std: [0.2, 0.2, 0.2]}"


@pytest.mark.parametrize(("divide", "is_odd"), [(255, True), (65535, False)])
def test_pixels_that_are_far_from_0_and_1_are_named(
    tmp_path: Path, divide: int, is_odd: bool
) -> None:
    """Images of 16 bits that are divided by 255 are, with the mean and std that numpy finds."""
    competition = write_squares(tmp_path)
    for path in (competition / "train").iterdir():
        wide = tifffile.imread(path).astype(np.uint16) * np.array([257, 250, 240], np.uint16)
        tifffile.imwrite(path, wide, photometric="rgb")
    changes = [GIVEN % divide, "windows={grid: {around: grid, size: 160}}"]
    [run] = TrainingRecipe.load(tmp_path / "train.yaml", changes).runs.values()
    cuts = make_cuts(run, competition, tmp_path / "cuts")
    said = odd_statistics(run, cuts)
    if not is_odd:
        assert said == ""
        return
    first = [image.read(image.bounds)[0][0].ravel() for image in cuts.images.values()]
    values = (np.concatenate(first) / divide - 0.2) / 0.2
    assert said == (
        f"squares: after normalisation, band 1 of the training windows has a mean of "
        f"{values.mean():.4g} and a std of {values.std():.4g}, wanted about 0 and 1. Correct the "
        "input's divide (255), mean or std, or find them with mean: auto"
    )
