"""Which tiles of a grid are worth reading, judged on a thumbnail of the slide.

Most of a slide is glass. A tile whose core holds none of the tissue that a rule asks for is left
out: it counts as background, and the report counts it as skipped.
"""

import cv2
import numpy as np

from kernelkit.grid import TileGrid
from kernelkit.recipe import ForegroundRule
from kernelkit.slide import Slide

__all__ = ["foreground", "foreground_tiles"]


def foreground(thumbnail: np.ndarray, rule: ForegroundRule) -> np.ndarray:
    """Which pixels of a thumbnail are tissue.

    Parameters
    ----------
    thumbnail
        uint8 (3, h, w) RGB for the rule `saturation`; any dtype and bands for `grey`, which looks
        at the mean of the bands.

    Returns
    -------
    bool (h, w).
    """
    if rule.rule == "saturation":
        picture = np.ascontiguousarray(thumbnail[:3].transpose(1, 2, 0))
        measure = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)[..., 1].astype(np.float32)
    else:
        measure = thumbnail.mean(axis=0, dtype=np.float32)
    return (measure > rule.above) & (measure <= rule.below)


def foreground_tiles(slide: Slide, grid: TileGrid, rule: ForegroundRule | None) -> list[int]:
    """The indices of the tiles whose core is tissue in more than `rule.fraction`, in grid order.

    Without a rule all tiles are worth reading. A tile's share is taken over all thumbnail pixels
    that its core touches, so that none is lost to rounding.
    """
    if rule is None:
        return list(range(len(grid)))
    max_side = -(-max(slide.height, slide.width) // rule.scale)
    tissue = foreground(slide.thumbnail(max_side), rule)
    scale = max(slide.height / tissue.shape[0], slide.width / tissue.shape[1])
    chosen = []
    for tile in grid:
        core = tile.core
        rows = slice(int(core.row / scale), int(np.ceil(core.bottom / scale)))
        columns = slice(int(core.col / scale), int(np.ceil(core.right / scale)))
        if tissue[rows, columns].mean() > rule.fraction:
            chosen.append(tile.index)
    return chosen
