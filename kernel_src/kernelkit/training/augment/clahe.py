"""Contrast-limited adaptive histogram equalisation (CLAHE) of many planes at once."""

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["equalised"]

_BINS = 256


def equalised(planes: Tensor, limits: Tensor, grid: int) -> Tensor:
    """Equalise planes of bytes, as OpenCV's `createCLAHE` does.

    Parameters
    ----------
    planes
        int64 (n, H, W) of 0 to 255.
    limits
        What a bin may hold at most, as a multiple of the mean. One per plane, in host memory.
    grid
        So many cells lie along each side.

    Returns
    -------
    float32 (n, H, W) of 0 to 255.
    """
    height, width = planes.shape[-2:]
    # OpenCV adds a whole row of cells if one side fits and the other does not
    fits = height % grid == 0 and width % grid == 0
    below, beside = (0, 0) if fits else (grid - height % grid, grid - width % grid)
    padded = F.pad(planes[:, None].float(), (0, beside, 0, below), mode="reflect")[:, 0].long()
    tables = _tables(padded, limits, grid)
    cell = padded.shape[1] // grid, padded.shape[2] // grid
    rows, row_share = _neighbours(height, cell[0], grid, planes.device)
    columns, column_share = _neighbours(width, cell[1], grid, planes.device)
    number = torch.arange(len(planes), device=planes.device)[:, None, None]

    def mapped(row: Tensor, column: Tensor) -> Tensor:
        cells = row[:, None] * grid + column[None]
        return tables.flatten()[(number * grid * grid + cells) * _BINS + planes]

    above = mapped(rows[0], columns[0]) * (1 - column_share) + (
        mapped(rows[0], columns[1]) * column_share
    )
    under = mapped(rows[1], columns[0]) * (1 - column_share) + (
        mapped(rows[1], columns[1]) * column_share
    )
    return above * (1 - row_share[:, None]) + under * row_share[:, None]


def _tables(padded: Tensor, limits: Tensor, grid: int) -> Tensor:
    """What each value becomes in each cell, float32 (n, cells, 256)."""
    count, height, width = padded.shape
    area = (height // grid) * (width // grid)
    cells = padded.reshape(count, grid, height // grid, grid, width // grid)
    cells = cells.transpose(2, 3).reshape(count, grid * grid, area)
    bins = torch.zeros(count, grid * grid, _BINS, dtype=torch.long, device=padded.device)
    bins.scatter_add_(2, cells, torch.ones_like(cells))
    most = (limits * area / _BINS).int().clamp_min(1).to(padded.device)[:, None, None]
    spare = (bins - most).clamp_min(0).sum(2, keepdim=True)
    bins = bins.minimum(most) + spare // _BINS
    bins = bins + _spread(spare % _BINS)
    return (bins.cumsum(2).float() * ((_BINS - 1) / area)).round_().clamp_(0, _BINS - 1)


def _spread(rest: Tensor) -> Tensor:
    """One more for `rest` of the bins, in even steps from the first on."""
    step = (_BINS // rest.clamp_min(1)).clamp_min(1)
    bins = torch.arange(_BINS, device=rest.device)
    return ((bins % step == 0) & (bins // step < rest)).long()


def _neighbours(
    length: int, cell: int, grid: int, device: torch.device
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """The two cells nearest to each pixel of an axis, and the share of the second."""
    at = torch.arange(length, device=device) / cell - 0.5
    first = at.floor().long()
    return (first.clamp(0), (first + 1).clamp(max=grid - 1)), at - first
