"""Crops: from the table of windows to batches, the same with any number of workers.

`data` has the class that the loop calls. Its `sampler` orders windows, and its `loader` hands each
batch to a worker as a `task`. `geometry` says where a crop's pixels come from. `sheet` draws crops.
It is imported late, because the workers need no torch.
"""

from typing import TYPE_CHECKING, Any

from kernelkit.training.crops.batch import CropBatch
from kernelkit.training.crops.data import CropData
from kernelkit.training.crops.loader import CropLoader

if TYPE_CHECKING:
    from kernelkit.training.crops.sheet import contact_sheet

__all__ = ["CropBatch", "CropData", "CropLoader", "contact_sheet"]


def __getattr__(name: str) -> Any:
    if name == "contact_sheet":
        from kernelkit.training.crops.sheet import contact_sheet

        return contact_sheet
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
