"""Images for the tests of slides and readers, and how tifffile sees a file."""

from pathlib import Path

import cv2
import numpy as np
import rasterio
import tifffile

from devkit.demo.layouts import LAYOUTS, LOSSLESS, write
from kernelkit.grid import Window
from kernelkit.vocabulary import Fill

__all__ = [
    "LAYOUTS",
    "LOSSLESS",
    "picture",
    "seen_by_tifffile",
    "spoil_block",
    "window_of",
    "write",
]

_NUMPY_MODES = {"zero": "constant", "reflect": "reflect", "edge": "edge"}


def picture(bands: int, height: int, width: int, dtype: str = "uint8", seed: int = 0) -> np.ndarray:
    """Return a smooth image (bands, height, width) with some noise, so that codecs have work."""
    random = np.random.default_rng(seed)
    coarse = random.random((bands, height // 16 + 2, width // 16 + 2), np.float32)
    smooth = np.stack([cv2.resize(band, (width, height)) for band in coarse])
    top = 60000 if dtype == "uint16" else 250
    return (smooth * top + random.random(smooth.shape, np.float32) * 5).astype(dtype)


def seen_by_tifffile(path: Path, bands: int) -> np.ndarray:
    """Return the whole image as (bands, height, width), read by tifffile."""
    image = np.squeeze(tifffile.imread(path))
    if image.ndim == 2:
        return image[np.newaxis]
    return image if image.shape[0] == bands else image.transpose(2, 0, 1)


def window_of(image: np.ndarray, window: Window, scale: int, fill: Fill) -> np.ndarray:
    """Return a window of a whole image (C, H, W) the slow way: numpy pads, then OpenCV shrinks."""
    before = (max(0, -window.row), max(0, -window.col))
    after = (
        max(0, window.bottom - image.shape[1]),
        max(0, window.right - image.shape[2]),
    )
    padded = np.pad(
        image,
        ((0, 0), (before[0], after[0]), (before[1], after[1])),
        mode=_NUMPY_MODES[fill],  # type: ignore[call-overload]
    )
    rows, columns = Window(
        window.row + before[0], window.col + before[1], window.height, window.width
    ).slices
    pixels = np.ascontiguousarray(padded[:, rows, columns])
    if scale == 1:
        return pixels
    size = (window.width // scale, window.height // scale)
    return np.stack([cv2.resize(band, size, interpolation=cv2.INTER_AREA) for band in pixels])


def spoil_block(path: Path, row: int, col: int) -> None:
    """Overwrite the block at a pixel of a file of 256 x 256 tiles."""
    with rasterio.open(path) as file:
        name = f"{col // 256}_{row // 256}"
        offset = int(file.get_tag_item(f"BLOCK_OFFSET_{name}", "TIFF", bidx=1))
        size = int(file.get_tag_item(f"BLOCK_SIZE_{name}", "TIFF", bidx=1))
    with path.open("r+b") as raw:
        raw.seek(offset)
        raw.write(b"\xff" * size)
