"""From probabilities at the network's scale to packed bits of the cores, on the device."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kernelkit.grid import Tile, Window

__all__ = ["are_on", "as_bytes", "pack_bits", "pack_cores"]


def pack_cores(
    probabilities: Tensor, tiles: Sequence[Tile], scale: int, thresholds: Tensor | None
) -> list[Tensor]:
    """Enlarge each tile `scale` times, cut out its core, decide its pixels and pack them.

    Parameters
    ----------
    probabilities
        float32 (N, K, h, w), at the network's scale, of the `tiles`' read windows.
    thresholds
        As of `are_on`.

    Returns
    -------
    The tiles' cores in their order, in groups. Neighbours of one size make one group: uint8
    (n, K, core.height, ceil(core.width / 8)), packed as by `pack_bits`.
    """
    packed: list[Tensor] = []
    numbered = list(enumerate(tiles))
    for inner, group in groupby(numbered, key=lambda pair: pair[1].inner):
        places = [index for index, _ in group]
        cores = _enlarged(probabilities[places[0] : places[-1] + 1], inner, scale)
        packed.append(pack_bits(are_on(cores, thresholds)))
    return packed


def are_on(probabilities: Tensor, thresholds: Tensor | None) -> Tensor:
    """Decide which pixels are on, bool (N, K, h, w).

    Parameters
    ----------
    probabilities
        float32 (N, K, h, w).
    thresholds
        float32 (1,) or (K,), on the same device. A pixel is on if its probability is above. With
        None, it is on for the class of its highest probability alone. Ties go to the first class.
        A pixel at which all are 0, as in gated tiles, is on for none.
    """
    if thresholds is not None:
        return probabilities > thresholds[:, None, None]
    classes = torch.arange(probabilities.shape[1], device=probabilities.device)
    # torch promises the first of equal values
    likeliest = probabilities.argmax(dim=1, keepdim=True) == classes[:, None, None]
    return likeliest & (probabilities > 0)


def as_bytes(probabilities: Tensor) -> Tensor:
    """`255 p`, rounded, as uint8 of the same shape."""
    return (255 * probabilities).round().to(torch.uint8)


def pack_bits(mask: Tensor) -> Tensor:
    """uint8 (..., h, ceil(w / 8)) of a bool (..., h, w): pixel c is bit c % 8 of byte c // 8."""
    if mask.device.type == "cpu":
        return torch.from_numpy(np.packbits(mask.numpy(), axis=-1, bitorder="little"))
    return _pack_by_torch(mask)


def _pack_by_torch(mask: Tensor) -> Tensor:
    eights = F.pad(mask.to(torch.uint8), (0, -mask.shape[-1] % 8)).unflatten(-1, (-1, 8))
    places = torch.arange(8, dtype=torch.uint8, device=mask.device)
    return (eights << places).sum(-1, dtype=torch.uint8)


def _enlarged(probabilities: Tensor, inner: Window, scale: int) -> Tensor:
    """The window `inner` of the enlarged tiles. Nothing else of them is enlarged."""
    rows, columns = (
        # one pixel more on each side, because bilinear enlarging looks at neighbours
        slice(max(0, start // scale - 1), -(-(start + size) // scale) + 1)
        for start, size in ((inner.row, inner.height), (inner.col, inner.width))
    )
    part = probabilities[..., rows, columns]
    if scale > 1:
        part = F.interpolate(part, scale_factor=scale, mode="bilinear")
    top, left = inner.row - rows.start * scale, inner.col - columns.start * scale
    return part[..., top : top + inner.height, left : left + inner.width]
