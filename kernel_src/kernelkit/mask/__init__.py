"""The mask of a whole image in packed bits, and its run-length encodings.

`bitmask` has the class; `bits` and `runs` are the two forms in which it works, words and runs;
`rle` and `coco` what runs look like as text; `components` finds what touches, `morphology` grows
and shrinks it.
"""

from kernelkit.mask.bitmask import (
    BitMask,
    Components,
    rle_decode,
    rle_encode,
)

__all__ = ["BitMask", "Components", "rle_decode", "rle_encode"]
