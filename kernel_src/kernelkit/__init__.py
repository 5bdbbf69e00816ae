"""kernelkit: gigapixel segmentation inside an offline code-competition notebook.

The pieces below are imported when they are asked for. `import kernelkit` alone loads none of them.

>>> from kernelkit import BitMask
>>> BitMask.from_rle("1 3", (2, 2)).area
3
"""

import os
from typing import TYPE_CHECKING

from kernelkit.lazy import lazily

if TYPE_CHECKING:
    from kernelkit.canvas import Canvas
    from kernelkit.competition import CompetitionFolder, Submission, check_submission
    from kernelkit.ensemble import MegaModel
    from kernelkit.errors import KernelKitError
    from kernelkit.grid import TileGrid
    from kernelkit.maps import DrawnLabels, write_geotiff, write_polygons
    from kernelkit.mask import BitMask, rle_decode, rle_encode
    from kernelkit.reader import TileReader
    from kernelkit.recipe import Recipe
    from kernelkit.slide import Slide
    from kernelkit.training.recipe import TrainingRecipe

__all__ = [
    "BitMask",
    "Canvas",
    "CompetitionFolder",
    "DrawnLabels",
    "KernelKitError",
    "MegaModel",
    "Recipe",
    "Slide",
    "Submission",
    "TileGrid",
    "TileReader",
    "TrainingRecipe",
    "check_submission",
    "rle_decode",
    "rle_encode",
    "write_geotiff",
    "write_polygons",
]

__version__ = "0.1.0"

# The client of Hugging Face's hub reads them when a library that uses it is imported.
for _variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY"):
    os.environ.setdefault(_variable, "1")

__getattr__ = lazily(
    __name__,
    {
        "canvas": ("Canvas",),
        "competition": ("CompetitionFolder", "Submission", "check_submission"),
        "ensemble": ("MegaModel",),
        "errors": ("KernelKitError",),
        "grid": ("TileGrid",),
        "maps": ("DrawnLabels", "write_geotiff", "write_polygons"),
        "mask": ("BitMask", "rle_decode", "rle_encode"),
        "reader": ("TileReader",),
        "recipe": ("Recipe",),
        "slide": ("Slide",),
        "training.recipe": ("TrainingRecipe",),
    },
)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
