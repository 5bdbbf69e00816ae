"""`contact_sheet`: crops as the network sees them, with their masks drawn, as one picture."""

import math

import numpy as np
from torch import Tensor

from kernelkit.predict.pictures import as_rgb, drawn_over
from kernelkit.recipe import NetworkInput

__all__ = ["contact_sheet"]

# Pixels between two crops, and their grey.
_GAP, _GREY = 4, 255
# The grey of pixels that no loss counts.
_MISSING = 96


def contact_sheet(
    pixels: Tensor,
    targets: Tensor,
    held: Tensor | None = None,
    wanted: NetworkInput | None = None,
    most: int = 16,
) -> np.ndarray:
    """Draw crops side by side, as `OnDevice` gives them.

    Parameters
    ----------
    pixels, targets, held
        What `OnDevice` gave for a batch.
    wanted
        The networks' input. Its mean and std are undone.
    most
        So many crops are drawn at most.

    Returns
    -------
    uint8 (height, width, 3) RGB. Pixels without data are grey.
    """
    values = pixels[:most].detach().float().cpu()
    if wanted is not None:
        mean, std = (values.new_tensor(each)[:, None, None] for each in (wanted.mean, wanted.std))
        values = values * std + mean
    count, _, height, width = values.shape
    columns = math.ceil(math.sqrt(count))
    rows = -(-count // columns)
    shape = rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, 3
    sheet = np.full(shape, _GREY, np.uint8)
    for index, crop in enumerate(values.numpy()):
        picture = drawn_over(as_rgb(crop), targets[index].detach().float().cpu().numpy())
        if held is not None:
            picture[~held[index].cpu().numpy()] = _MISSING
        top, left = index // columns * (height + _GAP), index % columns * (width + _GAP)
        sheet[top : top + height, left : left + width] = picture
    return sheet
