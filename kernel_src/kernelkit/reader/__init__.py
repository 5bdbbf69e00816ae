"""The tiles of an image, decoded by threads or processes, each block of the file once.

`reader` has the class that users call. `pieces` cuts the image. A `tile_pass` hands pieces to
`workers` and tiles to the caller, and `tile_memory` says how far ahead. `piece_task` is what a
worker does: it decodes into memory that is `shared`.
`foreground` says which tiles are worth reading, and `missing` which pixels hold no data. `pictures`
reads whole pictures with the same workers, in batches that cross pictures.
"""

from kernelkit.reader.pictures import PictureBatch, PictureInfo, PictureReader, Preparation
from kernelkit.reader.reader import Batch, ReaderPool, ReaderStats, TileReader

__all__ = [
    "Batch",
    "PictureBatch",
    "PictureInfo",
    "PictureReader",
    "Preparation",
    "ReaderPool",
    "ReaderStats",
    "TileReader",
]
