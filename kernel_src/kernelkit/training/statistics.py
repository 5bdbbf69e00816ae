"""Mean and standard deviation of the training windows: found for a recipe, or held against it."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from kernelkit.ensemble.normalise import normalise
from kernelkit.errors import TrainingError
from kernelkit.grid import Window

if TYPE_CHECKING:
    from kernelkit.training.cuts import Cuts
    from kernelkit.training.recipe import RunRecipe

__all__ = ["odd_statistics", "with_found_statistics"]

# So many windows are looked at, evenly chosen. More would change the fourth digit.
_MOST_WINDOWS = 500
# So many show whether values are far from 0 and 1.
_FEW_WINDOWS = 20
# A band that is the same everywhere is divided by this.
_LEAST = 1e-6
# Mean and std of normalised values are near 0 and 1. Beyond this, something was forgotten.
_ODD = 10.0


def with_found_statistics(run: "RunRecipe", cuts: "Cuts") -> "RunRecipe":
    """The run with mean and std of its windows, per band, if it says `auto`.

    They are of what would be normalised: after the bands, and after `divide` or the decibels.
    Pixels without data do not count, and neither does what windows show beside the image.

    Raises
    ------
    TrainingError
        No window holds data.
    """
    if not run.auto_statistics:
        return run
    found = _statistics(run, cuts, _MOST_WINDOWS)
    if found is None:
        raise TrainingError(
            f"{run.name}: no window holds data, so there is no mean of it. Write input.mean and "
            "input.std, or correct the nodata value"
        )
    mean, std = found
    return run.with_statistics(mean.round(6).tolist(), std.round(6).tolist())


def odd_statistics(run: "RunRecipe", cuts: "Cuts") -> str:
    """A sentence if normalised pixels are far from a mean of 0 and a std of 1. Else nothing.

    So they are if images have 16 bits and are divided by 255. A network hardly learns from them.
    """
    found = _statistics(run, cuts, _FEW_WINDOWS)
    if found is None:
        return ""
    mean, std = found
    band = int(np.maximum(abs(mean), std).argmax())
    if max(abs(mean[band]), std[band]) <= _ODD:
        return ""
    return (
        f"{run.name}: after normalisation, band {run.input.bands[band]} of the training windows "
        f"has a mean of {mean[band]:.4g} and a std of {std[band]:.4g}, wanted about 0 and 1. "
        f"Correct the input's divide ({run.input.divide:g}), mean or std, or find them with mean: "
        "auto"
    )


def _statistics(
    run: "RunRecipe", cuts: "Cuts", most: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Mean and std per band of normalised windows, of at most so many. None if none holds data."""
    table = cuts.kept
    chosen = np.unique(np.linspace(0, len(table) - 1, min(len(table), most)).astype(int))
    count, total, squares = 0, np.zeros(len(run.input.bands)), np.zeros(len(run.input.bands))
    columns = ["image", "row", "col", "height", "width"]
    for image, *place in table.iloc[chosen][columns].itertuples(index=False):
        cut = cuts.images[image]
        pixels, _, held = cut.read(Window(*map(int, place)).intersection(cut.bounds))
        values = normalise(torch.from_numpy(pixels)[None], run.input)[0].double().numpy()
        flat = values.reshape(len(values), -1) if held is None else values[:, held]
        count += flat.shape[1]
        total += flat.sum(1)
        squares += (flat**2).sum(1)
    if not count:
        return None
    mean = total / count
    return mean, np.sqrt(np.maximum(squares / count - mean**2, _LEAST**2))
