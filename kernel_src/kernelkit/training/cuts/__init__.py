"""Windows, not copies: images at the training scale, and one table of windows over them.

`make` shrinks what is not there yet and lays the windows. `cuts` is what comes of it, `image` one
image of it. `sight` says how networks see images, `shrink` and `pictures` bring them to that.
`shrunk` knows what is there already, by `contents`. `pixels` makes what lacks, and `handing_out`
has an executor make it. `blocks` and `packs` are the files. `sources`
has the polygons, `windows` the places of windows, `numbers` what they hold, `blank` what is left
out. `table` puts these together.

Names are imported when they are asked for: a process that cuts crops needs `image` alone.
"""

from typing import TYPE_CHECKING

from kernelkit.lazy import lazily

if TYPE_CHECKING:
    from kernelkit.training.cuts.cuts import Cuts
    from kernelkit.training.cuts.image import CutImage
    from kernelkit.training.cuts.make import make_cuts

__all__ = ["CutImage", "Cuts", "make_cuts"]

__getattr__ = lazily(__name__, {"cuts": ("Cuts",), "image": ("CutImage",), "make": ("make_cuts",)})
