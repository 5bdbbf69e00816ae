"""One image, whatever its layout on disk.

`slide` has the class. `level` reads windows of the image or of an overview. `stack` joins files and
pages as bands, and a `part` is one of them. `nodata` finds the pixels without data. `containers`
opens a file with the one driver for it. `tiff` reads the directories of a TIFF, and `layout` says
which of them are the image. `budget` refuses what a file cannot hold, and `refusals` says why it
cannot be read. `pixels` averages and mirrors. `block_cache` bounds what GDAL keeps. `description`
puts the layout into words. `npy` shows numpy's files to GDAL. `content` hashes files, and `header`
says what an image is without a pixel of it.
"""

from kernelkit.slide.slide import Slide

__all__ = ["Slide"]
