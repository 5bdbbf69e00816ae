"""Mean and standard deviation of the training windows, if a recipe leaves them to be found."""

from typing import TYPE_CHECKING

import numpy as np
import torch

from kernelkit.ensemble.normalise import normalise
from kernelkit.errors import TrainingError
from kernelkit.grid import Window

if TYPE_CHECKING:
    from kernelkit.training.cuts import Cuts
    from kernelkit.training.recipe import RunRecipe

__all__ = ["with_found_statistics"]

# So many windows are looked at, evenly chosen. More would change the fourth digit.
_MOST_WINDOWS = 500
# A band that is the same everywhere is divided by this.
_LEAST = 1e-6


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
    table = cuts.kept
    chosen = np.unique(np.linspace(0, len(table) - 1, min(len(table), _MOST_WINDOWS)).astype(int))
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
        raise TrainingError(
            f"{run.name}: no window holds data, so there is no mean of it. Write input.mean and "
            "input.std, or correct the nodata value"
        )
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, _LEAST**2))
    return run.with_statistics(mean.round(6).tolist(), std.round(6).tolist())
