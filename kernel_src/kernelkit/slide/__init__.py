"""One image, whatever its layout on disk.

`slide` has the class. `datasets` opens files as bands. `pixels` averages and mirrors.
"""

from kernelkit.slide.slide import Slide

__all__ = ["Slide"]
