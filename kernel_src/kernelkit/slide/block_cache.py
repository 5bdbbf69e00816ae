"""The size of GDAL's cache of decoded blocks, which all datasets of a process share.

By default it grows to 5 % of the machine's memory in every process. A reader that reads each block
once needs less. If several readers set a limit, the largest counts.
"""

import threading

from rasterio.env import get_gdal_config, set_gdal_config

__all__ = ["BlockCacheLimit", "set_block_cache"]

_OPTION = "GDAL_CACHEMAX"
_lock = threading.Lock()
_live: list["BlockCacheLimit"] = []
_original = 0


class BlockCacheLimit:
    """A limit of `size` bytes on the cache, until any thread calls `lift`.

    `rasterio.Env` would not do. Its blocks must nest, and those of two threads that read at the
    same time do not. The cache would then stay small for good. (In an Env, GDAL_CACHEMAX=64 is 64
    bytes.)
    """

    def __init__(self, size: int) -> None:
        global _original
        self._size = size
        with _lock:
            if not _live:
                _original = get_gdal_config(_OPTION)
            _live.append(self)
            set_block_cache(max(limit._size for limit in _live))

    def lift(self) -> None:
        """End the limit. A second call changes nothing."""
        with _lock:
            if self in _live:
                _live.remove(self)
                set_block_cache(max((limit._size for limit in _live), default=_original))


def set_block_cache(size: int) -> None:
    """Set the cache's size in bytes, for good."""
    set_gdal_config(_OPTION, size)
