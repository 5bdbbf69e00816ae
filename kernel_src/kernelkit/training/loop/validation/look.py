"""How networks look at the images that validate, and what their answers mean."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from kernelkit.grid import Tile, TileGrid, Window
from kernelkit.vocabulary import Activation, Blend, Edges

__all__ = ["Look", "Picture"]


class Picture(Protocol):
    """An image as the networks see it, with its labels."""

    @property
    def height(self) -> int:
        """Rows of pixels."""

    @property
    def width(self) -> int:
        """Pixels per row."""

    def read(
        self, window: Window, /
    ) -> tuple[NDArray, NDArray[np.uint8], NDArray[np.bool_] | None]:
        """Pixels (C, h, w), labels (K, h, w) from 0 to 255, and where there is data (h, w)."""


@dataclass(frozen=True)
class Look:
    """How the networks look at an image, and what their answers mean.

    Attributes
    ----------
    normalise
        Makes the networks' input of pixels on the device, (N, C, h, w).
    activation
        What makes probabilities of their answers.
    labels
        Which of the network's classes the labels are about.
    threshold
        A pixel is on if its probability is above. None takes the likeliest class.
    core, pad
        Of the grid, in pixels of the training scale. A core of 0 is a whole image.
    edges, blend
        Of the grid and of the canvas.
    inner
        The part of a whole image that is judged, without its pads. None is all of it.
    batch
        How many pixels are looked at at once, at most.
    confuses
        Whether it is also counted which class is taken for which.
    present
        Of classifiers: what their answers (N, J) say is there, bool (N,), or (N, K) of each class.
        None if the networks answer with masks.
    """

    normalise: Callable[[Tensor], Tensor]
    activation: Activation = "sigmoid"
    labels: tuple[int, ...] = (0,)
    threshold: float | None = 0.5
    core: int = 0
    pad: int = 0
    edges: Edges = "pad"
    blend: Blend = "crop"
    inner: Callable[[Any], Window] | None = None
    batch: int = 1 << 20
    confuses: bool = False
    present: Callable[[Tensor], Tensor] | None = None

    @property
    def thresholds(self) -> tuple[float] | None:
        """The threshold as the canvas takes it."""
        return None if self.threshold is None else (self.threshold,)

    def tiles(self, picture: Picture) -> Sequence[Tile]:
        """The tiles of an image."""
        if self.core:
            return self.grid(picture)
        return [Tile(0, Window(0, 0, picture.height, picture.width), self.counted(picture))]

    def counted(self, picture: Picture) -> Window:
        """The part of an image that is judged."""
        if self.core or self.inner is None:
            return Window(0, 0, picture.height, picture.width)
        return self.inner(picture)

    def grid(self, picture: Picture) -> TileGrid:
        """The grid of an image that is looked at in tiles."""
        return TileGrid(picture.height, picture.width, self.core, self.pad, 1, self.edges)
