"""One image, whatever its layout on disk.

`slide` has the class. `containers` opens a file with the one driver for it. `tiff` reads the
directories of a TIFF, and `layout` says which of them are the image. `budget` refuses what a file
cannot hold. `datasets` joins files and pages as bands. `pixels` averages and mirrors. `block_cache`
bounds what GDAL keeps.
"""

from kernelkit.slide.slide import Slide

__all__ = ["Slide"]
