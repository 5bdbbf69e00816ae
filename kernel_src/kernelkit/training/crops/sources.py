"""What a fold's crops are cut from: the windows of each source, and how often each is drawn."""

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernelkit.errors import TrainingError
from kernelkit.grid import Window
from kernelkit.training.crops.pseudo_labels import PseudoLabels
from kernelkit.training.crops.sampler import Pool

if TYPE_CHECKING:
    import pandas as pd

    from kernelkit.training.cuts import CutImage, Cuts
    from kernelkit.training.recipe import Source

__all__ = ["TrainingWindow", "TrainingWindows"]

# So many images are named in a message.
_SHOWN = 3


class TrainingWindow(NamedTuple):
    """A window that crops are cut from.

    Attributes
    ----------
    image
        The image that it lies in.
    labels
        Pseudo-labels instead of the image's own, or None.
    window
        Where it lies.
    weight
        What the loss of its crops is multiplied by.
    """

    image: "CutImage"
    labels: PseudoLabels | None
    window: Window
    weight: float

    def read_labels(self, window: Window) -> NDArray[np.uint8]:
        """The labels of any window of the image, (K, height, width)."""
        return (self.labels or self.image).read_labels(window)

    def read_held(self, window: Window) -> NDArray[np.bool_] | None:
        """Which pixels of any window the loss counts, (height, width). None if it counts all.

        It counts none without data, and none of the zeros outside of the image. Pseudo-labels that
        are unsure count for nothing either.
        """
        found = [self.image.read_held(window)]
        if self.labels is not None:
            found.append(self.labels.read_held(window))
        inside = window.intersection(self.image.bounds)
        if self.image.fill == "zero" and inside != window:
            beside = np.zeros((window.height, window.width), np.bool_)
            if inside.area:
                beside[inside.relative_to(window).slices] = True
            found.append(beside)
        held = [each for each in found if each is not None]
        return np.logical_and.reduce(held) if held else None


class _Pictures(NamedTuple):
    """Images by what may give them away: their ids, and the keys of their pixels."""

    ids: frozenset[str]
    pixels: frozenset[str]

    @classmethod
    def of(cls, cuts: "Cuts", images: Iterable[str]) -> "_Pictures":
        """Some images of cuts."""
        ids = frozenset(images)
        return cls(ids, frozenset(cuts.index.images[image][1] for image in ids))

    def among(self, cuts: "Cuts") -> frozenset[str]:
        """Which images of other cuts are these, by their ids or by equal files."""
        return frozenset(
            image
            for image, (_, pixels, _) in cuts.index.images.items()
            if image in self.ids or pixels in self.pixels
        )


class TrainingWindows:
    """The windows of all sources of a fold.

    Parameters
    ----------
    sources
        The sources by their names.
    cuts
        The images with labels, and their windows.
    pseudo
        Those of each source of pseudo-labels.
    training
        The images of `cuts` that train. No other image of them does, with pseudo-labels either.

    Attributes
    ----------
    windows
        The windows.
    pools
        Which of them are drawn how often.
    notes
        What went otherwise, a sentence each.

    Raises
    ------
    TrainingError
        A source has no windows, or names an image that does not exist.
    """

    def __init__(
        self,
        sources: "Mapping[str, Source]",
        cuts: "Cuts",
        pseudo: "Mapping[str, Cuts]",
        training: Sequence[str],
    ) -> None:
        self.windows: list[TrainingWindow] = []
        self.pools: list[Pool] = []
        self.notes: list[str] = []
        held_out = _Pictures.of(cuts, set(cuts.images) - set(training))
        for name, source in sources.items():
            if source.pseudo is None:
                self._add(name, source, cuts, frozenset(training))
            else:
                leaking = held_out.among(pseudo[name])
                if leaking:
                    self.notes.append(
                        f"{len(leaking)} image(s) of the source {name} validate, so they are left"
                        f" out ({', '.join(sorted(leaking)[:_SHOWN])})"
                    )
                others = frozenset(pseudo[name].images) - leaking
                self._add(name, source, pseudo[name], others)

    def _add(self, name: str, source: "Source", cuts: "Cuts", training: frozenset[str]) -> None:
        """Add the windows of a source."""
        rows = cuts.kept
        rows = rows[rows["source"] == (source.windows or name)]
        if source.images is not None:
            rows = rows[rows["image"].isin(_matching(name, source.images, cuts))]
        if isinstance(source.target, bool):
            rows = rows[(rows["target_share"] > 0) == source.target]
        if rows.empty:
            raise TrainingError(
                f"sources.{name}: found no such windows in the cuts. All were blank, or there are "
                "none of this kind. Leave the source out"
            )
        rows = rows[rows["image"].isin(training)]
        if rows.empty:
            self.notes.append(f"all windows of the source {name} lie in images that validate")
            return
        windows = _windows(source, cuts, rows)
        is_sure = np.array([_holds_any(window) for window in windows])
        if not is_sure.any():
            raise TrainingError(
                f"sources.{name}: no pixel of its {len(windows)} windows has a probability of "
                f"{source.least} or more. Lower least"
            )
        first = len(self.windows)
        self.windows += [each for each, sure in zip(windows, is_sure, strict=True) if sure]
        self._pool(name, source, first, rows["target_share"].to_numpy()[is_sure])

    def _pool(self, name: str, source: "Source", first: int, target: NDArray[np.float64]) -> None:
        """Make the pools of a source, given the share of labelled pixels of each window."""
        numbers = np.arange(first, first + len(target))
        count = max(1, round(len(target) * source.weight))
        if source.target is None or isinstance(source.target, bool):
            self.pools.append(Pool(numbers, count))
            return
        for chosen, wanted in ((target > 0, source.target), (target == 0, 1 - source.target)):
            if wanted and not chosen.any():
                raise TrainingError(
                    f"sources.{name}: found {(target > 0).sum()} of {len(target)} windows with a "
                    f"labelled pixel, wanted {source.target:.0%} of the crops to have one. Leave "
                    "out target"
                )
            if wanted:
                self.pools.append(Pool(numbers[chosen], max(1, round(count * wanted))))


def _windows(source: "Source", cuts: "Cuts", rows: "pd.DataFrame") -> list[TrainingWindow]:
    """The windows of some rows of the table."""
    labels = {}
    if source.pseudo is not None:
        labels = {
            name: PseudoLabels(cuts.images[name], source.soft, source.least)
            for name in rows["image"].unique()
        }
    places = rows[["row", "col", "height", "width"]].to_numpy().tolist()
    return [
        TrainingWindow(cuts.images[name], labels.get(name), Window(*place), source.loss_weight)
        for name, place in zip(rows["image"], places, strict=True)
    ]


def _holds_any(window: TrainingWindow) -> bool:
    """Whether a window of pseudo-labels has a pixel that counts."""
    if window.labels is None or window.labels.least is None:
        return True
    held = window.read_held(window.window)
    return held is None or bool(held.any())


def _matching(name: str, patterns: Sequence[str], cuts: "Cuts") -> set[str]:
    """The images that match a pattern. Each pattern must match one image at least."""
    found: set[str] = set()
    for pattern in patterns:
        images = {image for image in cuts.images if fnmatchcase(image, pattern)}
        if not images:
            raise TrainingError(
                f"sources.{name}.images: found {pattern!r:.60}, which is no image of the cuts. "
                f"They begin with {', '.join(list(cuts.images)[:_SHOWN])}"
            )
        found |= images
    return found
