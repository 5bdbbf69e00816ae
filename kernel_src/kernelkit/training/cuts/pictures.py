"""Whole pictures as networks see them, and their labels of the same size."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from kernelkit.errors import SlideError
from kernelkit.grid import Window
from kernelkit.labels import ImageLabel
from kernelkit.mask import BitMask
from kernelkit.reader import PictureInfo, PictureReader, ReaderPool
from kernelkit.reader.pictures_prepare import input_sizes, resize
from kernelkit.slide import Slide
from kernelkit.training.cuts.blocks import BlockArray
from kernelkit.training.cuts.packs import PackWriter
from kernelkit.training.cuts.sight import Sight
from kernelkit.vocabulary import Resample

__all__ = ["label_of_picture", "read_pictures", "write_whole"]

# Pictures that are decoded at once.
_TOGETHER = 64


def read_pictures(
    pictures: Sequence[tuple[Path, ...]], sight: Sight, readers: ReaderPool
) -> Iterator[tuple[int, SlideError | tuple[PictureInfo, dict[str, np.ndarray]]]]:
    """Read pictures as networks see them.

    Yields
    ------
    The number of a picture. Then what its file holds, with its `pixels` (C, height, width) and
    perhaps what is `missing` (1, height, width). If it cannot be read, the error instead.
    """
    for batch in PictureReader(pictures, sight.preparation, readers, _TOGETHER):
        for number, reason in batch.failed:
            yield number, SlideError(reason)
        for number, pixels, info in zip(
            batch.numbers, batch.inputs[0], batch.pictures, strict=True
        ):
            arrays = {"pixels": pixels}
            if info.missing is not None and sight.nodata != "keep":
                arrays["missing"] = _missing(info.missing, sight)[np.newaxis]
            yield number, (info, arrays)


def label_of_picture(label: ImageLabel, slide: Slide, sight: Sight) -> NDArray[np.uint8]:
    """The labels of a whole picture, (K, height, width), padded and resized as its pixels are."""
    before, after = sight.pads
    if sight.size is not None and not before and not after:
        return label.resized(sight.size)
    height, width = (side + before + after for side in (slide.height, slide.width))
    padded = label.read(Window(-before, -before, height, width), fill=sight.fill)
    [size] = input_sizes(slide.height, slide.width, sight.preparation)
    way: Resample = "area" if size[0] <= height and size[1] <= width else "bilinear"
    resized = resize(np.ascontiguousarray(padded.transpose(1, 2, 0)), size, way)
    return np.ascontiguousarray(resized.transpose(2, 0, 1))


def write_whole(array: np.ndarray, writer: PackWriter) -> BlockArray:
    """Write an array (C, height, width) as one block."""
    bands, height, width = array.shape
    place = writer.begin((bands, height, width), array.dtype, (height, width))
    writer.write(place, 0, array[np.newaxis])
    return place


def _missing(missing: BitMask, sight: Sight) -> NDArray[np.uint8]:
    """Which pixels of a prepared picture see one without data. What is added to it has data."""
    before, after = sight.pads
    [size] = input_sizes(missing.height, missing.width, sight.preparation)
    borders = {"zero": cv2.BORDER_CONSTANT, "reflect": cv2.BORDER_REFLECT_101}
    border = borders.get(sight.fill, cv2.BORDER_REPLICATE)
    padded = cv2.copyMakeBorder(missing.to_array(), before, after, before, after, border, value=0)
    share = resize(padded[..., np.newaxis].astype(np.float32), size, sight.resample)[..., 0]
    return (share > 0).astype(np.uint8)
