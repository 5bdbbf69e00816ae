"""The masks of one image, made of what is stored of it."""

from collections.abc import Sequence
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernelkit.canvas import enlarge_and_threshold
from kernelkit.canvas.accumulate import enlarge
from kernelkit.canvas.stored import Planes
from kernelkit.ensemble.layers import gated_out
from kernelkit.errors import SubmissionError
from kernelkit.mask import BitMask
from kernelkit.mask.resizing import resize
from kernelkit.predict.hand_in.planes import Grid, MergedPlanes, grid_of
from kernelkit.predict.hand_in.postprocess import Seen, Steps, apply_steps
from kernelkit.predict.hand_in.variants import Way
from kernelkit.predict.store.store import Layers
from kernelkit.reader.pictures_prepare import resize as resize_pixels
from kernelkit.recipe import Recipe
from kernelkit.slide import Slide

__all__ = ["StoredImage"]

# So far apart are the answers of one gate on different devices, at most.
_SAME_GATE = 0.05
# Probabilities of so many pixels and classes are merged, and decided, once for all submissions.
_KEPT = 1 << 24


class StoredImage:
    """What is stored of one image, as masks or as layers of one store or more.

    Parameters
    ----------
    recipe
        Says which classes are submitted, and at which size.
    shape
        Height and width of the image.
    masks
        One per class, if masks are stored.
    parts
        Layers otherwise. The first part says on which grid they are merged.
    paths
        The files of the image, for steps that ask for its pixels.
    known
        The postprocess steps that there are.
    notes
        What is not as it should be, one sentence each.
    missing
        The pixels that hold no data, if masks are stored. Layers have their own.

    Attributes
    ----------
    size
        Height and width of the submitted masks.
    notes
        As given.
    scale
        How many times larger the submitted masks are than the planes of probabilities. 1 of masks.
    missing
        The pixels that hold no data, at the image's size. None if there are none.

    Raises
    ------
    SubmissionError
        Layers do not fit to the image or to each other.
    """

    def __init__(
        self,
        recipe: Recipe,
        shape: tuple[int, int],
        masks: Sequence[BitMask] | None,
        parts: Sequence[Layers],
        paths: Sequence[Path],
        known: Steps,
        notes: Sequence[str] = (),
        missing: BitMask | None = None,
    ) -> None:
        self.notes = list(notes)
        self.size = recipe.competition.size or shape
        self._shape = shape
        self._labels = recipe.competition.labels
        self._paths, self._nodata = paths, recipe.competition.nodata
        self._known = known
        self._masks = masks
        self._is_whole = recipe.tiles.whole
        usual = None if recipe.tiles.whole else recipe.tiles.scale
        self._parts = [(layers, grid_of(layers, shape, usual)) for layers in parts]
        self._merged: dict[tuple[Any, ...], Planes] = {}
        self._thresholded: dict[tuple[Any, ...], list[BitMask]] = {}
        lacking = (missing, *(part.missing for part in parts))
        self.missing = next((each for each in lacking if each is not None), None)
        self._gates = [part.gate for part in parts if part.gate is not None]
        self.scale = 1
        if masks is None:
            self._grid, self.scale = self._grid_of_planes(is_whole=recipe.tiles.whole)

    def masks(self, way: Way) -> list[BitMask]:
        """The submitted masks in one way, one per submitted class.

        Raises
        ------
        SubmissionError
            The gate's answer is needed and not stored, or stored with two values.
        """
        if way.is_gate:
            return self._masks_of_gate(way)
        if self._masks is not None:
            decided = [resize(self._masks[label], self.size) for label in self._labels]
            seen = Seen(image=lambda: self._pixels)
        else:
            decided = self._decided(way)
            seen = Seen(lambda label: self.probabilities(way, label), lambda: self._pixels)
        return [
            apply_steps(mask, way.steps, label, seen, self._known)
            for label, mask in zip(self._labels, decided, strict=True)
        ]

    @property
    def held(self) -> BitMask | None:
        """The pixels that hold data, at the size of the masks. None if all do."""
        return None if self.missing is None else ~resize(self.missing, self.size)

    @property
    def names(self) -> list[str]:
        """The names of the stored layers. There are none if masks are stored."""
        return [name for layers, _ in self._parts for name in layers.names]

    @property
    def has_probabilities(self) -> bool:
        """Whether more is stored than masks."""
        return self._masks is None

    def probabilities(self, way: Way, label: int) -> NDArray[Any]:
        """The probabilities (height, width) of a class at the masks' size, uint8 or float32."""
        planes = self.planes(way)
        plane: NDArray[Any] = planes[:, 0 : planes.shape[1]][label]
        if self.scale == 1:
            return plane
        unit = 255 if plane.dtype == np.uint8 else 1
        enlarged = np.empty(self.size, np.uint8)
        values = np.ascontiguousarray(plane, np.float32)
        gain = np.float32(255 / unit)
        enlarge(values, 0, 0, self.scale, gain, *self.size, enlarged)
        return enlarged

    def planes(self, way: Way) -> Planes:
        """The merged probabilities of all classes. Those of missing pixels are among them.

        Raises
        ------
        SubmissionError
            Only masks are stored, or the gate's answer is needed and not stored.
        """
        if self._masks is not None:
            raise SubmissionError(
                "found stored masks, wanted probabilities. Write 'store: {what: probabilities}' in "
                "the recipe, and predict again"
            )
        key = self._merge_of(way)
        if key not in self._merged:
            gate = self._gate() if key[-1] else None
            planes: Planes = MergedPlanes(way.ensemble, self._parts, self._grid, way.runs, gate)
            if prod(planes.shape) <= _KEPT:
                planes = planes[:, 0 : planes.shape[1]]
            self._merged[key] = planes
        return self._merged[key]

    def _grid_of_planes(self, is_whole: bool) -> tuple[Grid, int]:
        """The grid that layers are merged on, and how many times larger the masks are.

        Whole pictures are resized and then merged, tiles merged and then enlarged, as on the way
        of a pixel.
        """
        _check_classes([layers for layers, _ in self._parts])
        first = self._parts[0][1]
        if not is_whole and self.size == self._shape:
            return first, round(first.steps[0])
        steps = self._shape[0] / self.size[0], self._shape[1] / self.size[1]
        return Grid(self.size, steps), 1

    def _decided(self, way: Way) -> list[BitMask]:
        """The masks of the submitted classes before any step. Ways may share a threshold."""
        key = self._merge_of(way), way.thresholds
        if key in self._thresholded:
            decided = self._thresholded[key]
        else:
            planes = self.planes(way)
            every = enlarge_and_threshold(planes, self.size, self.scale, way.thresholds)
            decided = [self._without_missing(every[label]) for label in self._labels]
            if prod(planes.shape) > _KEPT:
                return decided
            self._thresholded[key] = decided
        # a step of the user's own may write to its mask
        return [mask.copy() for mask in decided]

    def _merge_of(self, way: Way) -> tuple[str, tuple[str, ...] | None, bool]:
        """What of a way decides on its probabilities: ensemble, runs, and whether it is gated."""
        # tiles are found empty one by one, when they are predicted
        gated = self._is_whole and way.is_gated and way.ensemble.gate is not None
        return way.ensemble.name, way.runs, gated

    def _gate(self) -> NDArray[np.float32]:
        """The gate's answer."""
        if not self._gates:
            raise SubmissionError(
                "the gate's answer is needed, but none is stored. Predict the image again with the "
                "gate"
            )
        first = self._gates[0]
        for other in self._gates[1:]:
            if other.shape != first.shape or np.abs(other - first).max() > _SAME_GATE:
                found = " and ".join(str(each.round(2).tolist()) for each in (first, other))
                raise SubmissionError(
                    f"found {found} as the gate's answers in two stores, wanted one. Merge runs of "
                    "one gate"
                )
        return first

    def _masks_of_gate(self, way: Way) -> list[BitMask]:
        empty = np.atleast_1d(gated_out(way.ensemble, self._gate()))
        masks = [BitMask.zeros(*self.size) for _ in self._labels]
        for label, mask in zip(self._labels, masks, strict=True):
            mask.words[0, 0] = not empty[label if len(empty) > 1 else 0]
        return masks

    def _without_missing(self, mask: BitMask) -> BitMask:
        if self.missing is None:
            return mask
        return mask & ~resize(self.missing, mask.shape)

    @cached_property
    def _pixels(self) -> NDArray[Any]:
        """The pixels (C, height, width) at the masks' size, read once for all submissions."""
        with Slide(self._paths, nodata=self._nodata) as slide:
            pixels = slide.read(slide.bounds)
        if pixels.shape[1:] == self.size:
            return pixels
        return np.moveaxis(resize_pixels(np.moveaxis(pixels, 0, 2), self.size, "area"), 2, 0)


def _check_classes(parts: Sequence[Layers]) -> None:
    counts = {layers.values.shape[1] for layers in parts}
    if len(counts) > 1:
        raise SubmissionError(
            f"found stored layers of {' and of '.join(map(str, sorted(counts)))} classes, wanted "
            "one number. Leave the stores of other classes out"
        )
