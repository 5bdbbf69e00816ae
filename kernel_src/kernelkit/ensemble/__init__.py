"""Every member of an ensemble in the device's memory, one answer a tile.

`megamodel` has the class. On the way in: `transfer`, `normalise`, `gates`. The members: `seating`
puts each on a seat (`seats`) of the `device`, folded (`fold`) and planned for (`memory`). Their
answers: the `tree` merges them, `graphs` replays it, `packing` makes bits of them, `disagreement`
shows where they differ.
"""

from kernelkit.ensemble.megamodel import MegaModel, Preprocess, Tiles

__all__ = ["MegaModel", "Preprocess", "Tiles"]
