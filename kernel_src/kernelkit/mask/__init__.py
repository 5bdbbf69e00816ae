"""The mask of a whole image in packed bits, and its run-length encodings.

`bitmask` has the class. It works on words (`bits`) and on runs (`runs`). `checks` refuses what no
mask can have. `rle` and `coco` turn runs into text and back. `texts` does so in each form of a
competition, and `encodings` with arrays. `components` finds pixels that touch, and `instances`
gives each component its runs. `morphology` grows and shrinks masks, and `resizing` gives them
another size.
"""

from kernelkit.mask.bitmask import BitMask
from kernelkit.mask.components import Components
from kernelkit.mask.encodings import rle_check, rle_decode, rle_encode
from kernelkit.mask.resizing import resize

__all__ = ["BitMask", "Components", "resize", "rle_check", "rle_decode", "rle_encode"]
