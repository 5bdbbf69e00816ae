"""Every member of an ensemble in the device's memory, and one answer per tile.

`megamodel` has the class, and `answers` what it returns. What is `asked` about comes in by
`transfer` and `normalise` (`preparation`), and becomes `questions`. The `runner` asks them batch by
batch, and `gates` leave out empty ones. `placement` loads the members and puts each on the `device`
(`placed`), as `memory` plans it. `batchnorm` makes them faster. The `tree` merges their answers
(`merge`, `weights`) over views (`tta`) and `scales`, and `graphs` replays it. `merged` makes one
network of all. `replicas` are copies on several devices, which take `turns`. `packing` makes bits
of answers, and `layers` the rest of a merge from stored ones (`stored_merge`). `disagreement` and
`spread` show where members differ, `fingerprints` what answers depend on, and `notes` what did not
go as requested.
"""

from kernelkit.ensemble.answers import Answers
from kernelkit.ensemble.megamodel import MegaModel, Pixels, Preprocess

__all__ = ["Answers", "MegaModel", "Pixels", "Preprocess"]
