"""A whole picture becomes the inputs of networks: padded, then resized from its own pixels.

Everything here takes a picture with its bands interleaved, (H, W, C). That is how files and OpenCV
have them. A network's input is bands first, (C, h, w).
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from kernelkit.slide.pixels import CV2_DTYPES, SERIAL_PIXELS
from kernelkit.vocabulary import Fill, Resample

__all__ = ["Preparation", "input_sizes", "pad", "prepare", "resize"]

_INTERPOLATIONS: Mapping[str, int] = {
    "area": cv2.INTER_AREA,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "nearest": cv2.INTER_NEAREST,
}
_BORDERS: Mapping[str, int] = {
    "zero": cv2.BORDER_CONSTANT,
    "reflect": cv2.BORDER_REFLECT_101,
    "edge": cv2.BORDER_REPLICATE,
}
# OpenCV has its own code for up to so many bands.
_TOGETHER = 4
# Pictures of fewer pixels are shrunk before a function is compiled for it.
_LARGE = 1 << 18


@dataclass(frozen=True, slots=True)
class Preparation:
    """What to make of each picture.

    Attributes
    ----------
    pads
        How many pixels to add before and after the picture's own, on both axes.
    fill
        What they are: "zero", "reflect" or "edge", as numpy.pad and a `Slide` have them.
    sizes
        Of each input: height and width, or how many times larger than the padded picture. None
        makes one input, the padded picture itself.
    resample
        How a padded picture gets another size, as cv2.resize does it: "area", "bilinear",
        "bicubic" or "nearest".
    bands
        How many bands to give, from the first on. None gives all.
    nodata
        The value of a pixel without data. None takes each file's own.
    """

    pads: tuple[int, int] = (0, 0)
    fill: Fill = "zero"
    sizes: tuple[tuple[int, int] | float, ...] | None = None
    resample: Resample = "area"
    bands: int | None = None
    nodata: float | None = None


def input_sizes(height: int, width: int, preparation: Preparation) -> list[tuple[int, int]]:
    """Return height and width of each input that is made of a picture of this size.

    >>> input_sizes(101, 101, Preparation(pads=(14, 13), sizes=(1, 0.5, (64, 96))))
    [(128, 128), (64, 64), (64, 96)]
    """
    sides = tuple(side + sum(preparation.pads) for side in (height, width))
    found = []
    for size in preparation.sizes or (1.0,):
        if not isinstance(size, Sequence):
            size = (max(1, round(sides[0] * size)), max(1, round(sides[1] * size)))
        found.append((size[0], size[1]))
    return found


def prepare(
    pixels: np.ndarray,
    held: np.ndarray | None,
    preparation: Preparation,
    outs: Sequence[np.ndarray],
) -> None:
    """Make the inputs of a picture.

    Parameters
    ----------
    pixels
        (H, W, C), 0 where there is no data.
    held
        Where there is data, (H, W) bool. None if all of it is.
    outs
        Where to write each input, (C, h, w).
    """
    pixels = pad(pixels, preparation)
    if held is not None:
        held = _padded_held(held, preparation)
    sizes = [(out.shape[1], out.shape[2]) for out in outs]
    for out, resized in zip(outs, _resized(pixels, sizes, preparation.resample), strict=True):
        if held is not None and preparation.resample in ("area", "bilinear"):
            _leave_out(pixels, held, preparation.resample, resized)
        _part_bands(resized, out)


def _part_bands(pixels: np.ndarray, out: np.ndarray) -> None:
    """Copy (H, W, C) into (C, H, W)."""
    if pixels.dtype in CV2_DTYPES and len(out) == pixels.shape[2]:
        cv2.split(pixels, list(out))  # several times as fast as numpy
    else:
        out[...] = np.moveaxis(pixels[..., : len(out)], 2, 0)


def pad(pixels: np.ndarray, preparation: Preparation) -> np.ndarray:
    """Return a picture (H, W, C) with its pads, equal to numpy.pad's."""
    before, after = preparation.pads
    if not before and not after:
        return pixels
    if pixels.dtype in CV2_DTYPES and pixels.shape[2] <= _TOGETHER:
        border = _BORDERS[preparation.fill]
        padded = cv2.copyMakeBorder(pixels, before, after, before, after, border)
        return padded.reshape(*padded.shape[:2], pixels.shape[2])
    widths = ((before, after), (before, after), (0, 0))
    modes = {"zero": "constant", "reflect": "reflect", "edge": "edge"}
    return np.pad(pixels, widths, modes[preparation.fill])  # type: ignore[call-overload]


def _padded_held(held: np.ndarray, preparation: Preparation) -> np.ndarray:
    """Return where a padded picture holds data. Zeros that are added count as data."""
    before, after = preparation.pads
    border = _BORDERS[preparation.fill]
    held = held.astype(np.uint8)
    return cv2.copyMakeBorder(held, before, after, before, after, border, value=1)


def _resized(
    pixels: np.ndarray, sizes: Sequence[tuple[int, int]], resample: Resample
) -> Iterator[np.ndarray]:
    """Iterate over a picture at some sizes."""
    fast = [size for size in sizes if resample == "area" and _shrinks_slowly(pixels, size)]
    means: dict[tuple[int, int], np.ndarray] = {}
    if fast:
        # workers that read other pictures need no numba
        from kernelkit.reader.pictures_area import area_means

        means = dict(zip(fast, area_means(pixels, fast), strict=True))
    for size in sizes:
        yield means[size] if size in means else resize(pixels, size, resample)


def _shrinks_slowly(pixels: np.ndarray, size: tuple[int, int]) -> bool:
    """Whether a picture (H, W, C) is large, and shrinks in the way that OpenCV is slow at."""
    height, width = pixels.shape[:2]
    if pixels.dtype != np.uint8 or height * width < _LARGE:
        return False
    return height >= size[0] and width >= size[1] and bool(height % size[0] or width % size[1])


def resize(pixels: np.ndarray, size: tuple[int, int], resample: Resample) -> np.ndarray:
    """Return a picture (H, W, C) at another height and width, equal to cv2.resize's.

    More than four bands are resized one by one. A dtype that OpenCV does not know goes through
    float64.
    """
    if pixels.shape[:2] == size:
        return pixels
    if pixels.dtype not in CV2_DTYPES:
        mean = resize(pixels.astype(np.float64), size, resample)
        if pixels.dtype.kind not in "iu":
            return mean.astype(pixels.dtype)
        limits = np.iinfo(pixels.dtype)
        return np.rint(mean).clip(limits.min, limits.max).astype(pixels.dtype)
    bands = pixels.shape[2]
    if bands > _TOGETHER:
        parts = [resize(pixels[..., band : band + 1], size, resample) for band in range(bands)]
        return np.concatenate(parts, axis=2)
    with _in_this_thread(size):
        out = cv2.resize(pixels, size[::-1], interpolation=_INTERPOLATIONS[resample])
    return out.reshape(*size, bands)


def _leave_out(
    pixels: np.ndarray, held: np.ndarray, resample: Resample, resized: np.ndarray
) -> None:
    """Replace in `resized` the means in which some pixels hold no data by those of the others."""
    size = (resized.shape[0], resized.shape[1])
    share = resize(held[..., np.newaxis].astype(np.float64), size, resample)[..., 0]
    some = (share > 0) & (share < 1)
    if not some.any():
        return
    for band in range(resized.shape[2]):
        whole = pixels[..., band : band + 1].astype(np.float64)
        mean = resize(whole, size, resample)[some, 0] / share[some]
        resized[some, band] = np.rint(mean) if resized.dtype.kind in "iu" else mean


@contextlib.contextmanager
def _in_this_thread(size: tuple[int, int]) -> Iterator[None]:
    """Keep OpenCV from using threads of its own, which do not survive a fork."""
    threads = cv2.getNumThreads() if size[0] * size[1] > SERIAL_PIXELS else 1
    if threads > 1:
        cv2.setNumThreads(1)
    try:
        yield
    finally:
        if threads > 1:
            cv2.setNumThreads(threads)
