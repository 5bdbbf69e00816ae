"""Test-time augmentation: the eight views of a tile, and how to turn each answer back.

A view transposes a tile or not, then flips its rows or not, then its columns or not. Together
these are the eight symmetries of a square (the dihedral group D4). To undo a view, its steps are
done in reverse order.

>>> tile = torch.arange(6).reshape(1, 1, 2, 3)
>>> view = VIEWS["rot90"]
>>> torch.equal(view.undo(view.apply(tile)), tile)
True
>>> [view.name for view in view_set("hubmap").views]
['identity', 'rot90', 'hflip', 'transpose']
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kernelkit.errors import RecipeError

__all__ = ["SETS", "VIEWS", "MixedViews", "View", "ViewSet", "view_set"]


@dataclass(frozen=True)
class View:
    """One symmetry of the square, for tensors whose last two axes are rows and columns.

    Attributes
    ----------
    name
        Its key in `VIEWS`.
    transposes, flips_rows, flips_columns
        The steps of the view, in this order.
    """

    name: str
    transposes: bool = False
    flips_rows: bool = False
    flips_columns: bool = False

    def apply(self, tiles: Tensor) -> Tensor:
        """Turn `tiles` (..., h, w). The result is (..., w, h) if the view transposes."""
        return self._flip(tiles.transpose(-2, -1) if self.transposes else tiles)

    def undo(self, answer: Tensor) -> Tensor:
        """Turn an answer for `apply(tiles)` back to the orientation of `tiles`."""
        answer = self._flip(answer)
        return answer.transpose(-2, -1) if self.transposes else answer

    def _flip(self, tiles: Tensor) -> Tensor:
        axes = [-2] * self.flips_rows + [-1] * self.flips_columns
        return tiles.flip(axes) if axes else tiles


@dataclass(frozen=True)
class MixedViews:
    """One view per tile of a batch (N, C, h, w). Views that transpose need square tiles."""

    views: tuple[View, ...]

    @property
    def name(self) -> str:
        """`mixed`."""
        return "mixed"

    def apply(self, tiles: Tensor) -> Tensor:
        """Turn each tile by its own view."""
        return torch.stack([v.apply(tile) for v, tile in zip(self.views, tiles, strict=True)])

    def undo(self, answer: Tensor) -> Tensor:
        """Turn each tile's answer back."""
        return torch.stack([v.undo(tile) for v, tile in zip(self.views, answer, strict=True)])


# By name. `rot90` turns counter-clockwise, as torch.rot90, numpy.rot90 and ttach do.
VIEWS: dict[str, View] = {
    view.name: view
    for view in (
        View("identity"),
        View("hflip", flips_columns=True),
        View("vflip", flips_rows=True),
        View("rot180", flips_rows=True, flips_columns=True),
        View("rot90", transposes=True, flips_rows=True),
        View("rot270", transposes=True, flips_columns=True),
        View("transpose", transposes=True),
        View("antitranspose", transposes=True, flips_rows=True, flips_columns=True),
    )
}
_UPRIGHT = ("identity", "hflip", "vflip", "rot180")
# The names of views that a recipe can ask for by one name.
SETS: dict[str, tuple[str, ...]] = {
    "flips": _UPRIGHT,
    # HFlip x Rotate90[0, 90], because a flip followed by a turn is the transpose
    "hubmap": ("identity", "rot90", "hflip", "transpose"),
    "unosat": ("identity", "rot90", "rot270", "rot180"),
    "d4": tuple(VIEWS),
    "rotating": tuple(VIEWS),
}


@dataclass(frozen=True)
class ViewSet:
    """The views that every tile is seen in.

    Attributes
    ----------
    views
        At least one.
    rotating
        Whether each tile is seen in one of them only.
    weights
        What each view weighs in the merge. None is the same for all.
    """

    views: tuple[View, ...]
    rotating: bool = False
    weights: tuple[float, ...] | None = None

    def heaviest(self, count: int) -> "ViewSet":
        """The views that weigh most, in their order. Of equal weights the first ones stay."""
        weights = self.weights or (1.0,) * len(self.views)
        by_weight = sorted(range(len(weights)), key=lambda place: -weights[place])
        kept = sorted(by_weight[:count])
        views = tuple(self.views[place] for place in kept)
        return ViewSet(views, self.rotating, self.weights and tuple(weights[i] for i in kept))

    def passes(self, indices: Sequence[int], square: bool) -> tuple[View | MixedViews, ...]:
        """The views in which a network sees a batch, pass by pass.

        A rotating set makes one pass. In it tile i is seen in view i mod 8. If tiles are not
        square, it is one of the four views that keep the shape. So neighbours that overlap are
        seen differently, at no cost.

        Parameters
        ----------
        indices
            The tiles' indices in their grid, one per tile of the batch.
        square
            Whether the tiles are as high as they are wide.
        """
        if not self.rotating:
            return self.views
        turns = self.views if square else tuple(v for v in self.views if not v.transposes)
        return (MixedViews(tuple(turns[index % len(turns)] for index in indices)),)


def view_set(names: str | Sequence[str] | Mapping[str, float]) -> ViewSet:
    """The set of views of that name (a key of `SETS`), or of the named views with their weights.

    Raises
    ------
    RecipeError
        A name is neither a set nor a view, or there is no name.
    """
    rotating = names == "rotating"
    chosen = SETS.get(names, (names,)) if isinstance(names, str) else tuple(names)
    unknown = [name for name in chosen if name not in VIEWS]
    if unknown or not chosen:
        raise RecipeError(
            f"{', '.join(unknown) or 'an empty list'} is no view of a tile. "
            f"Name a set ({', '.join(SETS)}) or list views ({', '.join(VIEWS)})"
        )
    weights = tuple(names.values()) if isinstance(names, Mapping) else None
    return ViewSet(tuple(VIEWS[name] for name in chosen), rotating, weights)
