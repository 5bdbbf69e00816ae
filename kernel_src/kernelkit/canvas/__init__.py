"""The probabilities of tiles in, the masks of the whole image out, in bounded memory.

`canvas` has the class, and `stitchers` its two ways to work. `blend` has the weights, `accumulate`
the compiled loops. `probability_file` keeps probabilities on disk.
"""

from kernelkit.canvas.canvas import Canvas

__all__ = ["Canvas"]
