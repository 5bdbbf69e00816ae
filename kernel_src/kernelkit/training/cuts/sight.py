"""How networks see an image: at a scale, or as a whole picture of a size. Pixels depend on it."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from kernelkit.reader import Preparation
from kernelkit.vocabulary import Fill, Nodata, Resample

if TYPE_CHECKING:
    from kernelkit.training.recipe import RunRecipe

__all__ = ["Sight", "key_of"]

# Cuts of another version are made anew.
_VERSION = 2


@dataclass(frozen=True, slots=True)
class Sight:
    """What decides on the pixels of the cuts, beside the images.

    Runs of one sight share cuts. Bands are chosen later, so all of them are kept.

    Attributes
    ----------
    whole
        Whether pictures are seen in one piece.
    scale
        How many times smaller slides are seen.
    pads, size, resample
        What is added to a whole picture, then to which height and width it is brought, and how.
    fill
        What stands outside of the image.
    nodata_value, nodata
        The value of a pixel without data, and whether such pixels count.
    """

    whole: bool
    scale: int
    pads: tuple[int, int]
    size: tuple[int, int] | None
    resample: Resample
    fill: Fill
    nodata_value: float | None
    nodata: Nodata

    @classmethod
    def of(cls, run: "RunRecipe") -> "Sight":
        """The sight of a run. What does not matter to it has its default."""
        tiles = run.tiles
        whole = tiles.whole
        size = (run.size[0], run.size[1]) if whole and run.size else None
        return cls(
            whole,
            1 if whole else tiles.scale,
            tiles.pads if whole else (0, 0),
            size,
            run.input.resample if size else "area",
            tiles.fill,
            run.competition.nodata,
            run.nodata,
        )

    @property
    def preparation(self) -> Preparation:
        """What the reader of pictures makes of each."""
        sizes = None if self.size is None else (self.size,)
        return Preparation(self.pads, self.fill, sizes, self.resample, nodata=self.nodata_value)

    def key(self, *others: Any) -> str:
        """A hash of the sight and of what else some bytes depend on."""
        return key_of(asdict(self), *others)


def key_of(*parts: Any) -> str:
    """A hash of values that JSON can hold."""
    text = json.dumps([_VERSION, *parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
