"""Windows, not copies: images at the training scale, and one table of windows over them.

`make` shrinks what is not there yet and lays the windows. `cuts` is what comes of it, `image` one
image of it. `sight` says how networks see images, `shrink` and `pictures` bring them to that.
`shrunk` knows what is there already, by `contents`. `blocks` and `packs` are the files. `sources`
has the polygons, `windows` the places of windows, `numbers` what they hold, `blank` what is left
out. `table` puts these together. `make` is imported late, because processes that only read crops
need none of it.
"""

from typing import TYPE_CHECKING, Any

from kernelkit.training.cuts.cuts import Cuts
from kernelkit.training.cuts.image import CutImage

if TYPE_CHECKING:
    from kernelkit.training.cuts.make import make_cuts

__all__ = ["CutImage", "Cuts", "make_cuts"]


def __getattr__(name: str) -> Any:
    if name == "make_cuts":
        from kernelkit.training.cuts.make import make_cuts

        return make_cuts
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
