"""The mask of a whole image in packed bits, and its run-length encodings.

`bitmask` has the class. It works on words (`bits`) and on runs (`runs`). `checks` refuses what no
mask can have. `rle` and `coco` turn runs into text and back, and `encodings` does so with arrays.
`components` finds pixels that touch. `morphology` grows and shrinks masks.
"""

from kernelkit.mask.bitmask import BitMask
from kernelkit.mask.components import Components
from kernelkit.mask.encodings import rle_check, rle_decode, rle_encode

__all__ = ["BitMask", "Components", "rle_check", "rle_decode", "rle_encode"]
