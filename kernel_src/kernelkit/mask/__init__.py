"""The mask of a whole image in packed bits, and its run-length encodings.

`bitmask` has the class. It works on words (`bits`) and on runs (`runs`). `rle` and `coco` turn runs
into text and back. `components` finds pixels that touch. `morphology` grows and shrinks masks.
"""

from kernelkit.mask.bitmask import (
    BitMask,
    Components,
    rle_check,
    rle_decode,
    rle_encode,
)

__all__ = ["BitMask", "Components", "rle_check", "rle_decode", "rle_encode"]
