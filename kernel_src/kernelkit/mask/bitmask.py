"""`BitMask`: the mask of a whole image in packed bits, 64 pixels per word, rows first.

A mask of 2 gigapixels takes 250 MB. Set operations, run-length encoding and components work on the
packed words. Only `to_array` makes an array of one byte per pixel.
"""

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kernelkit.errors import MaskError, kind_of
from kernelkit.mask import bits, checks, coco, mask_file, rle
from kernelkit.mask.components import Components, Labels, label, measure, toggle
from kernelkit.mask.runs import Runs, are_sparse, fill_runs, map_pieces, runs_of
from kernelkit.vocabulary import Connectivity, Keep, Order

__all__ = ["BitMask"]


class BitMask:
    """A binary mask of `height` x `width` pixels.

    Masks are made with `zeros`, `from_array`, `from_rle`, `from_coco` or `load`.

    Parameters
    ----------
    words
        uint64 (height, ceil(width / 64)). Pixel `c` of a row is bit `c % 64` of word `c // 64`.
        The bits past the last column must be 0.
    width
        Pixels per row.

    Attributes
    ----------
    words
        The packed pixels, as above. What is written to them is written to the mask.
    height, width
        The size in pixels.

    Raises
    ------
    MaskError
        The words are of another type or shape, or there is no pixel.

    Examples
    --------
    >>> mask = BitMask.from_rle("1 2 5 1", shape=(2, 3))
    >>> mask.to_array()
    array([[1, 0, 1],
           [1, 0, 0]], dtype=uint8)
    >>> mask.to_rle(order="row", base=0)
    '0 1 2 2'
    """

    __slots__ = ("height", "width", "words")
    __hash__ = None  # type: ignore[assignment]  # it can be changed in place

    def __init__(self, words: bits.Words, width: int) -> None:
        height, width = checks.size_of_words(words, width)
        self.words, self.height, self.width = words, height, width

    @classmethod
    def _of(cls, words: bits.Words, width: int) -> Self:
        """A mask of words that are known to be right."""
        mask = cls.__new__(cls)
        mask.words, mask.height, mask.width = words, len(words), width
        return mask

    @classmethod
    def zeros(cls, height: int, width: int) -> Self:
        """An empty mask. It takes memory only as it is written to.

        Raises
        ------
        MaskError
            There is no such size, or not the memory for it.
        """
        return cls._allocated(np.zeros, (height, width))

    @classmethod
    def _unfilled(cls, size: tuple[int, int]) -> Self:
        """A mask of any pixels, to be overwritten. That is several times faster than zeros."""
        return cls._allocated(np.empty, size)

    @classmethod
    def _allocated(cls, allocate: Callable[..., bits.Words], size: tuple[int, int]) -> Self:
        height, width = checks.size(size)
        try:
            words = allocate((height, bits.words_per_row(width)), np.uint64)
        except MemoryError as error:
            raise checks.too_large(height, width) from error
        return cls._of(words, width)

    @classmethod
    def from_array(cls, array: ArrayLike, threshold: float | None = None) -> Self:
        """A mask of the pixels of an array that are not 0, or that are above a threshold.

        Parameters
        ----------
        array
            Bool, integers or floats, (height, width), of any strides.
        threshold
            On the array's own scale, so 0 to 255 for uint8 probabilities. If None, the pixels that
            are not 0 are on.

        Raises
        ------
        MaskError
            The array is not 2-dimensional, has no pixel, or holds anything but numbers. NaN is no
            number: whether such a pixel is on is for the caller to say. The threshold is none.
        """
        pixels = checks.pixels_of(array)
        if threshold is not None:
            threshold = checks.number("a threshold", threshold)
        mask = cls._unfilled((pixels.shape[0], pixels.shape[1]))
        if not bits.pack(pixels, threshold, mask.words):
            checks.refuse_nan(pixels)
        return mask

    def to_array(self) -> NDArray[np.uint8]:
        """The mask as uint8 (height, width), 0 or 1. It takes one byte per pixel."""
        return bits.unpack(self.words, self.width)

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width

    @property
    def area(self) -> int:
        """The number of pixels that are on."""
        return bits.count(self.words)

    def paste(
        self, row: int, col: int, patch: "ArrayLike | BitMask", threshold: float | None = None
    ) -> None:
        """Overwrite the pixels from (row, col) on.

        Parameters
        ----------
        row, col
            The patch's upper left corner.
        patch
            A mask, or an array as `from_array` takes it. It must lie inside this mask.
        threshold
            As for `from_array`.

        Raises
        ------
        MaskError
            The patch reaches outside of the mask, or is no mask.
        """
        other = patch if isinstance(patch, BitMask) else BitMask.from_array(patch, threshold)
        checks.refuse_outside(self.shape, row, col, other.height, other.width)
        if not self.words.flags.writeable:
            raise MaskError("a patch was to be pasted into a read-only mask. Copy the mask first")
        bits.place(other.words, other.width, col, self.words[row : row + other.height])

    def crop(self, row: int, col: int, height: int, width: int) -> Self:
        """A copy of a window that lies inside the mask."""
        checks.refuse_outside(self.shape, row, col, height, width)
        return self._of(bits.cut(self.words[row : row + height], col, width), width)

    def rows(self, start: int, stop: int) -> Self:
        """The band of rows [start, stop) as a view. What is written to it is written here."""
        start, stop = (checks.whole("a row", row) for row in (start, stop))
        checks.refuse_outside(self.shape, start, 0, stop - start, self.width)
        return self._of(self.words[start:stop], self.width)

    def split(self, count: int) -> list[Self]:
        """The mask as `count` bands of equal height, from the top. They are views, as of `rows`."""
        height, rest = divmod(self.height, checks.whole("a count of bands", count, least=1))
        if rest or not height:
            raise MaskError(
                f"a mask of {self.height} rows was to be split into {count} bands of equal height."
                " Give a count that divides its height"
            )
        tops = range(0, self.height, height)
        return [self._of(self.words[top : top + height], self.width) for top in tops]

    def copy(self) -> Self:
        """A mask with the same pixels and memory of its own."""
        return self._of(self.words.copy(), self.width)

    def __or__(self, other: "BitMask") -> Self:
        return self._of(self.words | self._same_size(other), self.width)

    def __and__(self, other: "BitMask") -> Self:
        return self._of(self.words & self._same_size(other), self.width)

    def __xor__(self, other: "BitMask") -> Self:
        return self._of(self.words ^ self._same_size(other), self.width)

    def __invert__(self) -> Self:
        words = ~self.words
        words[:, -1] &= bits.tail_mask(self.width)
        return self._of(words, self.width)

    # What is no mask is refused on the left of an operator too. Numpy would take masks for pixels.
    __array_ufunc__ = None
    __ror__, __rand__, __rxor__ = __or__, __and__, __xor__

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BitMask):
            return NotImplemented
        return self.width == other.width and np.array_equal(self.words, other.words)

    def __repr__(self) -> str:
        return f"BitMask({self.height} x {self.width}, area {self.area})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.words, self.width)

    def dice(self, other: "BitMask") -> float:
        """The Dice coefficient, 2 |A and B| / (|A| + |B|). Two empty masks have 1."""
        both = bits.count_common(self.words, self._same_size(other))
        total = self.area + other.area
        return 2 * both / total if total else 1.0

    def iou(self, other: "BitMask") -> float:
        """Intersection over union, |A and B| / |A or B|. Two empty masks have 1."""
        both = bits.count_common(self.words, self._same_size(other))
        either = self.area + other.area - both
        return both / either if either else 1.0

    def thumbnail(self, scale: int) -> NDArray[np.float32]:
        """The share of each scale x scale block that is on.

        Returns
        -------
        NDArray
            float32 (ceil(height / scale), ceil(width / scale)), 0 to 1. Blocks at the right and
            bottom border are averaged over the pixels that they have.
        """
        scale = checks.whole("a thumbnail's scale", scale, least=1)
        return bits.coverage(self.words, self.width, min(scale, max(self.shape)))

    def to_rle(self, order: Order = "column", base: int = 1, empty: str = "") -> str:
        """The run-length encoding, "start length start length ...".

        Parameters
        ----------
        order
            "column" numbers the pixels down the columns, as most competitions do. "row" numbers
            them along the rows.
        base
            The first pixel's number, 0 or 1.
        empty
            The text for an empty mask.

        Raises
        ------
        MaskError
            There is no such order or base.
        """
        rle.check_convention(order, base, empty)
        pieces = map_pieces(
            self.words,
            self.width,
            order,
            lambda runs, is_on: rle.format_piece(runs, is_on, base),
        )
        return rle.join_pieces(pieces, self.height * self.width, base) or empty

    @classmethod
    def from_rle(
        cls,
        text: str,
        shape: tuple[int, int],
        order: Order = "column",
        base: int = 1,
        empty: str = "",
    ) -> Self:
        """The mask that `to_rle` wrote as `text`.

        Parameters
        ----------
        text
            The run-length encoding.
        shape
            (height, width) of the mask.
        order, base, empty
            As for `to_rle`.

        Raises
        ------
        MaskError
            The text is anything but ascending, separate runs of positive length inside the image.
            The message names the place in the text.
        """
        rle.check_convention(order, base, empty)
        shape = checks.size(shape)
        if rle.is_empty(text, empty):
            return cls.zeros(*shape)
        return cls._of_runs(rle.parse_runs(text, math.prod(shape), base), shape, order)

    @classmethod
    def _of_runs(cls, runs: Runs, shape: tuple[int, int], order: Order) -> Self:
        mask = cls.zeros(*shape)
        is_zero = are_sparse(runs, shape, order)
        if not is_zero:
            mask = cls._unfilled(shape)
        fill_runs(runs, mask.width, order, mask.words, is_zero=is_zero)
        return mask

    def to_coco(self) -> dict[str, list[int] | bytes]:
        """The mask as pycocotools writes it, {"size": [height, width], "counts": bytes}."""
        runs = runs_of(self.words, self.width, "column")
        counts = coco.format_counts(runs, self.height * self.width)
        return {"size": [self.height, self.width], "counts": counts}

    @classmethod
    def from_coco(cls, encoded: Mapping[str, Any]) -> Self:
        """The mask of COCO's compressed {"size": [height, width], "counts": bytes or str}.

        Raises
        ------
        MaskError
            It is of another form, or the counts are not compressed, are damaged, or do not fit the
            size.
        """
        counts, shape = coco.parts_of(encoded)
        shape = checks.size(shape)
        return cls._of_runs(coco.parse_counts(counts, math.prod(shape)), shape, "column")

    def components(self, connectivity: Connectivity = 8) -> Components:
        """Areas, boxes and centroids of the connected components.

        Parameters
        ----------
        connectivity
            8 joins pixels that touch at a corner, 4 does not.
        """
        return measure(self.words, self.width, self._labels(connectivity))

    def keep_components(self, keep: NDArray[np.bool_], connectivity: Connectivity = 8) -> Self:
        """A mask of the chosen components.

        Parameters
        ----------
        keep
            bool (n,): whether a component stays. They are in the order of `components`.
        connectivity
            As for `components`.
        """
        labels = self._labels(connectivity)
        chosen = checks.choices_of(keep, len(labels.areas))
        return self._toggled(labels, ~chosen)

    def remove_small(
        self, min_area: float, keep: Keep = ">=", connectivity: Connectivity = 8
    ) -> Self:
        """A mask of the components that are large enough.

        Parameters
        ----------
        min_area
            In pixels.
        keep
            With ">=" components of at least `min_area` stay, with ">" those of more.
        connectivity
            As for `components`.
        """
        checks.refuse_keep(keep)
        min_area = checks.number("a minimum area", min_area, least=0)
        labels = self._labels(connectivity)
        small = labels.areas < min_area if keep == ">=" else labels.areas <= min_area
        return self._toggled(labels, small)

    def keep_largest(self, n: int = 1, connectivity: Connectivity = 8) -> Self:
        """A mask of the `n` largest components. Of equal ones, those first by rows stay."""
        n = checks.whole("a count of components", n, least=0)
        labels = self._labels(connectivity)
        others = np.ones(len(labels.areas), bool)
        others[np.argsort(-labels.areas, kind="stable")[:n]] = False
        return self._toggled(labels, others)

    def remove_touching_border(self, connectivity: Connectivity = 8) -> Self:
        """A mask of the components that do not touch the border."""
        labels = self._labels(connectivity)
        return self._toggled(labels, labels.touching_border)

    def fill_holes(self, max_area: float | None = None, connectivity: Connectivity = 8) -> Self:
        """A mask without holes. A hole is background that does not reach the border.

        Parameters
        ----------
        max_area
            Holes of at most so many pixels are filled. If None, all are.
        connectivity
            That of the objects. The background around 8-connected objects is 4-connected, and the
            other way round.
        """
        if max_area is not None:
            max_area = checks.number("a largest area", max_area, least=0)
        labels = self._labels(connectivity, of_background=True)
        holes = ~labels.touching_border
        return self._toggled(
            labels, holes if max_area is None else holes & (labels.areas <= max_area)
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a compressed .npz file (`words`, `width`). It appears once it is complete."""
        mask_file.write(Path(path), self.words, self.width)

    @classmethod
    def load(cls, path: str | os.PathLike[str], shape: tuple[int, int] | None = None) -> Self:
        """The mask that `save` wrote.

        Parameters
        ----------
        path
            The file.
        shape
            (height, width) that the mask must have. It is compared before the pixels are read.

        Raises
        ------
        MaskError
            The file is missing, damaged or something else, or its mask has another shape.
        """
        wanted = None if shape is None else checks.size(shape)
        return cls._of(*mask_file.read(Path(path), wanted))

    def _labels(self, connectivity: int, of_background: bool = False) -> Labels:
        checks.refuse_connectivity(connectivity)
        joined = 12 - connectivity if of_background else connectivity
        return label(self.words, self.width, joined, of_background)

    def _toggled(self, labels: Labels, chosen: NDArray[np.bool_]) -> Self:
        return self._of(toggle(self.words, self.width, labels, chosen), self.width)

    def _same_size(self, other: "BitMask") -> bits.Words:
        if not isinstance(other, BitMask):
            raise MaskError(
                f"a mask was combined with {kind_of(other)}. Make a mask of"
                " it first, with BitMask.from_array"
            )
        if self.shape != other.shape:
            raise MaskError(
                f"a mask of {self.height} x {self.width} pixels was combined with one of"
                f" {other.height} x {other.width}. Both must be of one size"
            )
        return other.words
