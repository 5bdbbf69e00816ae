"""The probabilities of tiles in, the masks of the whole image out, in bounded memory.

`canvas` has the class, and `stitchers` its two ways to work. `blend` has the weights, `accumulate`
the compiled loops, `decision` which pixels are on. `probability_file` keeps probabilities on disk.
`stored` makes masks of those that were kept.
"""

from kernelkit.canvas.canvas import Canvas
from kernelkit.canvas.stored import enlarge_and_threshold

__all__ = ["Canvas", "enlarge_and_threshold"]
