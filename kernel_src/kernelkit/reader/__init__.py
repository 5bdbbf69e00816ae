"""The tiles of an image, decoded by threads or processes, each block of the file once.

`reader` has the class, and what was measured; `pieces` cuts the image for `workers`, which decode
into memory that is `shared`; a `tile_pass` hands out the one and hands on the other.
"""

from kernelkit.reader.reader import Batch, ReaderPool, ReaderStats, TileReader

__all__ = ["Batch", "ReaderPool", "ReaderStats", "TileReader"]
