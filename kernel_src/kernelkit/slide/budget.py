"""What an image may take, judged from its file before any memory or time is taken.

A file of a kilobyte can declare gigapixels, and a strip can inflate to gigabytes. Each compression
has a best ratio. If the bytes of a file could not hold what it declares, it is refused at once.
A block that does not fit into the free memory is refused too, since it is decoded as a whole.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from rasterio.io import DatasetReader

from kernelkit.errors import SlideError
from kernelkit.memory import available_memory
from kernelkit.slide.png import check_png
from kernelkit.slide.tiff import COMPRESSIONS, TiffPage

__all__ = ["check_declared", "check_page", "in_words"]

# How many bytes one byte may decode to at most, by TIFF's compression. LZW: 12 bits stand for up to
# 3838 bytes. DEFLATE: RFC 1951 allows 258 bytes in 2 bits. ZSTD: RFC 8878, a block of 128 KiB in 4
# bytes. JPEG: one bit per 64 samples, if 4 x 4 pixels share their chroma. Others have no
# bound.
_RATIOS: Mapping[int, int] = {
    1: 1,
    5: 2560,
    7: 1400,
    8: 1032,
    32946: 1032,
    32773: 64,
    50000: 44_000,
}
# A file of which fewer than this share of the blocks can be whole is refused.
_LEAST_SHARE = 0.01
# While a block is decoded it lies in memory twice: as GDAL unpacks it, and in the cache.
_COPIES = 2.5
# Blocks of fewer bytes are decoded without asking for the free memory.
_SMALL = 32 << 20


def check_page(path: Path, page: TiffPage) -> list[str]:
    """Refuse a page of a TIFF that its file cannot hold. Return notes.

    Blocks that were left out take no bytes. They are legal, and their pixels are 0.

    Raises
    ------
    SlideError
        The file is cut short, or declares more than its bytes can decode to.
    """
    if not page.offsets.count or not page.sizes.count or page.compression == 6:
        return []
    offsets, sizes = page.offsets.read(), page.sizes.read()
    length = path.stat().st_size
    if min(len(offsets), len(sizes)) < page.blocks:
        raise SlideError(
            f"{path}: the file is truncated or damaged. Found {min(len(offsets), len(sizes))} "
            f"blocks, wanted {page.blocks} for {page.height} x {page.width} pixels. Download or "
            "copy it again"
        )
    offsets, sizes = offsets[: page.blocks], sizes[: page.blocks]
    wanted = int(offsets[-1] + sizes[-1])
    if length < wanted:
        raise SlideError(
            f"{path}: the file is truncated. Found {length} bytes, wanted at least {wanted}. "
            "Download or copy it again"
        )
    there = (offsets > 0) & (sizes > 0)
    if not there.any():
        return ["the file has no block of pixels: every pixel is read as 0"]
    ratio = _RATIOS.get(page.compression)
    if ratio is not None:
        ends = np.inf if page.compression == 1 else sizes  # some writers state a wrong size
        inside = np.clip(length - offsets, 0, ends)[there]
        whole = inside * float(ratio) >= _bytes_of_blocks(page)[there]
        if whole.mean() < _LEAST_SHARE:
            packing = COMPRESSIONS[page.compression]
            if page.blocks == 1 or page.block[0] > page.height:
                packing += f" in a block of {page.block[0]} x {page.block[1]}"
            _refuse_declared(path, page.height, page.width, length, packing)
    return []


def _bytes_of_blocks(page: TiffPage) -> np.ndarray:
    """Return what each block decodes to. The last strip of a page may be lower than the others."""
    found = np.full(page.blocks, page.block_bytes, np.int64)
    rows = -(-page.height // page.block[0])
    lower = page.height - (rows - 1) * page.block[0]
    if page.block[1] == page.width:
        found[rows - 1 :: rows] = page.block_bytes * lower // page.block[0]
    return found


def check_declared(path: Path, dataset: DatasetReader) -> None:
    """Refuse an open image that its file cannot hold, or of which one block exceeds the memory.

    `check_page` has judged TIFFs already. Of these only the block is judged here, because GDAL
    reads a page of one high strip row by row.

    Raises
    ------
    SlideError
        The file declares more than its bytes can decode to. Or a block needs more memory than is
        free.
    """
    length = path.stat().st_size
    height, width = dataset.shape
    sample = np.dtype(dataset.dtypes[0]).itemsize
    pixel = dataset.count * sample
    if dataset.driver == "PNG":
        # a palette may have one bit per pixel
        least = height * width * (pixel if dataset.count > 1 else 1 / 8)
        if least > length * 1032 + 4096:
            _refuse_declared(path, height, width, length, "PNG")
        check_png(path)
    elif dataset.driver == "JPEG":
        if height * width > length * 8192:
            _refuse_declared(path, height, width, length, "JPEG")
    elif dataset.driver == "GTiff":
        rows, columns = dataset.block_shapes[0]
        samples = dataset.count if dataset.profile.get("interleave") == "pixel" else 1
        size = rows * columns * samples * sample
        _check_memory(path, f"one block of {rows} x {columns}", size)
    elif dataset.driver == "WEBP":
        _check_memory(path, "the image, which is decoded as a whole,", height * width * pixel)
    elif dataset.driver == "JP2OpenJPEG":
        rows, columns = dataset.block_shapes[0]
        # OpenJPEG decodes to 32 bits
        _check_memory(path, f"one block of {rows} x {columns}", rows * columns * dataset.count * 4)


def _refuse_declared(path: Path, height: int, width: int, length: int, packing: str) -> None:
    raise SlideError(
        f"{path}: the file declares {height} x {width} pixels, but its {length} bytes of {packing} "
        "cannot hold them. It is damaged, or made to waste memory. Download or copy it again"
    )


def _check_memory(path: Path, what: str, size: float) -> None:
    if size < _SMALL:  # it costs more to ask than to decode
        return
    free = available_memory()
    if size * _COPIES > free:
        raise SlideError(
            f"{path}: {what} takes {in_words(size * _COPIES)} to decode, and {in_words(free)} of "
            "memory is free. Save the image again in tiles of 512 x 512"
        )


def in_words(size: float) -> str:
    """Return a number of bytes as people say it.

    >>> in_words(2_500_000_000), in_words(640_000)
    ('2.5 GB', '1 MB')
    """
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{max(1, round(size / 1e6))} MB"
