"""Every member of an ensemble in the device's memory, and one answer per tile.

`megamodel` has the class, and `answers` what it returns. Tiles come in by `transfer` and
`normalise`, and `gates` leave out empty ones. `placement` loads the members and puts each on the
`device` (`placed`), as `memory` plans it. `batchnorm` makes them faster. The `tree` merges their
answers (`merge`) over views (`tta`), and `graphs` replays it. `packing` makes bits of answers,
`disagreement` shows where members differ, and `notes` says what did not go as requested.
"""

from kernelkit.ensemble.answers import Answers
from kernelkit.ensemble.megamodel import MegaModel, Pixels, Preprocess

__all__ = ["Answers", "MegaModel", "Pixels", "Preprocess"]
