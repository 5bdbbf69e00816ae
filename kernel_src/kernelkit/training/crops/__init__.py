"""Crops: from the table of windows to batches, the same with any number of workers.

`data` has the class that the loop calls. Its `sources` have the windows. Its `sampler` orders them,
and its `loader` hands each batch to a worker as a `task`. `geometry` says where the pixels of a
crop come from. `pseudo` cuts the images of pseudo-labels, and `sheet` draws crops. Both are
imported late, because the workers need no torch.
"""

from typing import TYPE_CHECKING

from kernelkit.lazy import lazily
from kernelkit.training.crops.batch import CropBatch
from kernelkit.training.crops.data import CropData
from kernelkit.training.crops.loader import CropLoader

if TYPE_CHECKING:
    from kernelkit.training.crops.pseudo import make_pseudo_cuts
    from kernelkit.training.crops.sheet import contact_sheet

__all__ = ["CropBatch", "CropData", "CropLoader", "contact_sheet", "make_pseudo_cuts"]

__getattr__ = lazily(__name__, {"pseudo": ("make_pseudo_cuts",), "sheet": ("contact_sheet",)})
