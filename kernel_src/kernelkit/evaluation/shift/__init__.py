"""Whether test images look like training images, and which training images look most like them.

`thumbnails` makes a small picture of each image. `colours` and `network` make numbers of it.
`likeness` tells test from training by these numbers, always on images that it was not fitted to.
`measure` goes the whole way, and `sheet` draws what was found.
"""

from kernelkit.evaluation.shift.colours import ColourFeatures
from kernelkit.evaluation.shift.measure import Shift, measure_shift
from kernelkit.evaluation.shift.network import NetworkFeatures
from kernelkit.evaluation.shift.sheet import draw_sheet

__all__ = ["ColourFeatures", "NetworkFeatures", "Shift", "draw_sheet", "measure_shift"]
