"""numpy's files as GDAL sees them: a virtual dataset of raw bands, which says where each begins.

GDAL has no driver for them, but it reads raw pixels at any offsets and steps. So nothing is
decoded, and no array is made.
"""

from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np

from kernelkit.errors import SlideError

__all__ = ["dataset_of_npy", "notes_on_npy"]

# GDAL's words for numpy's numbers, in either order of their bytes.
_TYPES = {
    **{"b1": "Byte", "u1": "Byte", "i1": "Int8", "u2": "UInt16", "i2": "Int16"},
    **{"u4": "UInt32", "i4": "Int32", "f4": "Float32", "f8": "Float64"},
}
_MOST_BANDS = 512
_BAND = """
  <VRTRasterBand dataType="{kind}" band="{band}" subClass="VRTRawRasterBand">
    <SourceFilename relativeToVRT="0">{path}</SourceFilename>
    <ImageOffset>{start}</ImageOffset><PixelOffset>{pixel}</PixelOffset>
    <LineOffset>{line}</LineOffset><ByteOrder>{order}</ByteOrder>
  </VRTRasterBand>"""


def dataset_of_npy(path: Path) -> str:
    """The text of GDAL's virtual dataset for an array of one image.

    Raises
    ------
    SlideError
        The file is no whole array of numbers, or its shape is not that of an image.
    """
    array = _mapped(path)
    bands = _bands_first(path, array)
    parts = [
        _BAND.format(
            kind=_TYPES[array.dtype.str[1:]],
            band=number + 1,
            path=escape(str(path.absolute())),
            start=array.offset + number * bands.strides[0],
            pixel=bands.strides[2],
            line=bands.strides[1],
            order="MSB" if array.dtype.byteorder == ">" else "LSB",
        )
        for number in range(len(bands))
    ]
    height, width = bands.shape[1:]
    size = f'rasterXSize="{width}" rasterYSize="{height}"'
    return f"<VRTDataset {size}>{''.join(parts)}</VRTDataset>"


def notes_on_npy(path: Path) -> tuple[str, ...]:
    """Which axis of the array holds the bands, if it has three."""
    array = _mapped(path)
    is_first = _bands_first(path, array).shape == array.shape
    if array.ndim == 2:
        return ()
    return (f"the {'first' if is_first else 'last'} axis of the array holds the bands",)


def _mapped(path: Path) -> np.memmap:
    """The array, mapped into memory. No pixel is read."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy parses the header as Python, which fails in many ways
        reason = " ".join(str(error).split()).rstrip(".")
        raise SlideError(
            f"{path}: found no whole array of numbers ({reason}). Save it again with numpy.save, "
            "or download or copy it again"
        ) from error
    assert isinstance(array, np.memmap)
    if array.dtype.str[1:] not in _TYPES:
        raise SlideError(
            f"{path}: found an array of {array.dtype}, wanted whole numbers of at most 32 bits, or "
            "floats of 32 or 64. Save it as float32"
        )
    return array


def _bands_first(path: Path, array: np.ndarray) -> np.ndarray:
    """A view (bands, height, width). The bands are the shorter of the first and the last axis."""
    shape = array.shape
    if array.ndim == 2 and array.size:
        return array[np.newaxis]
    if (
        array.ndim == 3
        and array.size
        and shape[0] != shape[2]
        and min(shape[0], shape[2]) <= _MOST_BANDS
    ):
        return array if shape[0] < shape[2] else np.moveaxis(array, 2, 0)
    raise SlideError(
        f"{path}: found an array of shape {shape}, wanted (height, width), (bands, height, width) "
        f"or (height, width, bands) with at most {_MOST_BANDS} bands. Save it so with numpy.save"
    )
