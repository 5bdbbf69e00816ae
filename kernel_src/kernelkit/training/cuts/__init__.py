"""Windows, not copies: images at the training scale, and one table of windows over them.

`make` shrinks what is not there yet and lays the windows. `cuts` is what comes of it, `image` one
image of it. `sight` says how networks see images, `shrink` and `pictures` bring them to that.
`shrunk` knows what is there already, by `contents`. `pixels` makes what lacks, and `handing_out`
has an executor make it. `blocks` and `packs` are the files. `sources`
has the polygons, `windows` the places of windows, `numbers` what they hold, `blank` what is left
out. `table` puts these together.

Names are imported when they are asked for: a process that cuts crops needs `image` alone.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kernelkit.training.cuts.cuts import Cuts
    from kernelkit.training.cuts.image import CutImage
    from kernelkit.training.cuts.make import make_cuts

__all__ = ["CutImage", "Cuts", "make_cuts"]

_HOMES = {"CutImage": "image", "Cuts": "cuts", "make_cuts": "make"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
