"""Shrink pixels by averaging, and say which pixel stands in for one outside the image."""

from typing import Literal, get_args

import cv2
import numpy as np

from kernelkit.errors import GridError
from kernelkit.vocabulary import Fill

__all__ = [
    "CV2_DTYPES",
    "FILLS",
    "SERIAL_PIXELS",
    "area_average",
    "average_of_some",
    "border_indices",
]

FILLS: tuple[Fill, ...] = get_args(Fill)

# The dtypes that cv2.resize averages. Others go through float64, which holds them exactly.
CV2_DTYPES = frozenset(map(np.dtype, ("u1", "u2", "i2", "f4", "f8")))
# A resize to this many pixels or fewer stays in the calling thread. OpenCV's own threads do not
# survive a fork: a child that waits for them hangs. Beside other readers they only cost time.
SERIAL_PIXELS = (1 << 16) - 1


def area_average(pixels: np.ndarray, scale: int, out: np.ndarray) -> None:
    """Shrink (C, H, W) into `out`, (C, H / scale, W / scale): each pixel is the mean of a square.

    It is cv2.INTER_AREA band by band, its rounding included. No interleaved copy is made.

    Raises
    ------
    GridError
        The scale does not divide H and W.
    """
    _, height, width = pixels.shape
    if height % scale or width % scale:
        raise GridError(f"scale {scale} does not divide {height} x {width} pixels")
    step = max(1, SERIAL_PIXELS // (width // scale))
    for band, shrunk in zip(pixels, out, strict=True):
        for row in range(0, height // scale, step):
            _shrink_band(band[row * scale : (row + step) * scale], shrunk[row : row + step])


def _shrink_band(band: np.ndarray, out: np.ndarray) -> None:
    """Average (H, W) into (h, w)."""
    size = (out.shape[1], out.shape[0])
    if band.dtype in CV2_DTYPES:
        cv2.resize(band, size, dst=out, interpolation=cv2.INTER_AREA)
    else:
        mean = cv2.resize(band.astype(np.float64), size, interpolation=cv2.INTER_AREA)
        out[...] = np.rint(mean) if band.dtype.kind in "iu" else mean


def average_of_some(pixels: np.ndarray, held: np.ndarray, scale: int, out: np.ndarray) -> None:
    """Replace in `out` the means of squares in which some pixels hold no data.

    Parameters
    ----------
    pixels
        (C, H, W), 0 where there is no data.
    held
        Where there is data, (H, W) bool.
    scale
        The side of a square.
    out
        (C, H / scale, W / scale), the means of all pixels. The mean of those with data takes their
        place.
    """
    rows, columns = out.shape[1:]
    counts = held.reshape(rows, scale, columns, scale).sum(axis=(1, 3), dtype=np.int64)
    y, x = np.nonzero((counts > 0) & (counts < scale * scale))
    if not y.size:
        return
    for band, shrunk in zip(pixels, out, strict=True):
        squares = band.reshape(rows, scale, columns, scale)[y, :, x]
        mean = squares.sum(axis=(1, 2), dtype=np.float64) / counts[y, x]
        shrunk[y, x] = np.rint(mean) if out.dtype.kind in "iu" else mean


def border_indices(
    start: int, length: int, size: int, fill: Literal["reflect", "edge"]
) -> np.ndarray:
    """Return which of `size` pixels stand at [start, start + length), along one axis.

    Inside, each pixel stands for itself. Outside, "edge" repeats the outermost pixel. "reflect"
    mirrors at that pixel's centre, as often as needed, like cv2.BORDER_REFLECT_101 and numpy.pad.
    """
    positions = np.arange(start, start + length)
    if fill == "edge" or size == 1:
        return positions.clip(0, size - 1)
    folded = np.abs(positions) % (2 * size - 2)
    return np.minimum(folded, 2 * size - 2 - folded)
