"""`BitMask`: the mask of a whole image in packed bits, 64 pixels per word, rows first.

A mask of 2 gigapixels takes 250 MB. Set operations, run-length encoding and components work on the
packed words. Only `to_array` makes an array of one byte per pixel.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kernelkit.errors import MaskError
from kernelkit.mask import bits, coco, mask_file, rle
from kernelkit.mask.components import Components, Labels, label, measure, toggle
from kernelkit.mask.runs import fill_runs, map_pieces, runs_of
from kernelkit.vocabulary import Connectivity, Keep, Order, choices

__all__ = ["BitMask", "Components", "rle_check", "rle_decode", "rle_encode"]

# in pixels: more than any image has, and an int64 holds what is read up to there
_LARGEST = 10**18


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
        if words.dtype != np.uint64 or words.ndim != 2 or width < 1 or not len(words):
            raise MaskError(
                f"a mask of width {width} was given {words.dtype} words of shape {words.shape}."
                " It needs uint64 words (height, ceil(width / 64)) and at least one pixel"
            )
        if words.shape[1] != bits.words_per_row(width):
            raise MaskError(
                f"a mask of width {width} was given {words.shape[1]} words per row."
                f" It needs {bits.words_per_row(width)}"
            )
        self.words = words
        self.height = len(words)
        self.width = width

    @classmethod
    def zeros(cls, height: int, width: int) -> Self:
        """An empty mask. It takes memory only as it is written to."""
        _check_size(height, width)
        return cls(np.zeros((height, bits.words_per_row(width)), np.uint64), width)

    @classmethod
    def _unfilled(cls, height: int, width: int) -> Self:
        """A mask of any pixels, to be overwritten. That is several times faster than zeros."""
        _check_size(height, width)
        return cls(np.empty((height, bits.words_per_row(width)), np.uint64), width)

    @classmethod
    def from_array(cls, array: ArrayLike, threshold: float | None = None) -> Self:
        """A mask of the pixels of an array that are not 0, or that are above a threshold.

        Parameters
        ----------
        array
            Bool, integers or floats, (height, width), of any strides.
        threshold
            On the array's own scale, so 0 to 255 for uint8 probabilities. NaN is never above it.
            If None, the pixels that are not 0 are on.

        Raises
        ------
        MaskError
            The array is not 2-dimensional, or has no pixel.
        """
        array = np.asarray(array)
        if array.ndim != 2:
            raise MaskError(
                f"a mask was to be made from an array of shape {array.shape}."
                " It needs two dimensions, (height, width)"
            )
        mask = cls._unfilled(*array.shape)
        bits.pack(array, threshold, mask.words)
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
        self._check_inside(row, col, other.height, other.width)
        bits.place(other.words, other.width, col, self.words[row : row + other.height])

    def crop(self, row: int, col: int, height: int, width: int) -> Self:
        """A copy of a window that lies inside the mask."""
        self._check_inside(row, col, height, width)
        return type(self)(bits.cut(self.words[row : row + height], col, width), width)

    def rows(self, start: int, stop: int) -> Self:
        """The band of rows [start, stop) as a view. What is written to it is written here."""
        self._check_inside(start, 0, stop - start, self.width)
        return type(self)(self.words[start:stop], self.width)

    def copy(self) -> Self:
        """A mask with the same pixels and memory of its own."""
        return type(self)(self.words.copy(), self.width)

    def __or__(self, other: "BitMask") -> Self:
        return type(self)(self.words | self._same_size(other), self.width)

    def __and__(self, other: "BitMask") -> Self:
        return type(self)(self.words & self._same_size(other), self.width)

    def __xor__(self, other: "BitMask") -> Self:
        return type(self)(self.words ^ self._same_size(other), self.width)

    def __invert__(self) -> Self:
        words = ~self.words
        words[:, -1] &= bits.tail_mask(self.width)
        return type(self)(words, self.width)

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
        if scale < 1:
            raise MaskError(f"a thumbnail at scale {scale} was requested. It needs at least 1")
        return bits.coverage(self.words, self.width, scale)

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
        rle.check_convention(order, base)
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
        rle.check_convention(order, base)
        if not isinstance(text, str):
            raise MaskError(
                f"a run-length encoding must be a string, not {text!r}."
                " Read the table with keep_default_na=False to keep empty masks as text"
            )
        if text.strip() in ("", empty):
            return cls.zeros(*shape)
        mask = cls._unfilled(*shape)
        runs = rle.parse_runs(text, mask.height * mask.width, base)
        fill_runs(runs, mask.width, order, mask.words)
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
            The counts are not compressed, are damaged, or do not fit the size.
        """
        mask = cls._unfilled(*encoded["size"])
        runs = coco.parse_counts(encoded["counts"], mask.height * mask.width)
        fill_runs(runs, mask.width, "column", mask.words)
        return mask

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
        if np.shape(keep) != labels.areas.shape:
            raise MaskError(
                f"{np.size(keep)} choices were given for {len(labels.areas)} components."
                " Give one per component, in the order of `components` at the same connectivity"
            )
        return self._toggled(labels, ~np.asarray(keep, bool))

    def remove_small(
        self, min_area: int, keep: Keep = ">=", connectivity: Connectivity = 8
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
        if keep not in get_args(Keep):
            raise MaskError(
                f"components of an area {keep!r} the minimum were requested. "
                f"`keep` is {choices(Keep)}"
            )
        labels = self._labels(connectivity)
        small = labels.areas < min_area if keep == ">=" else labels.areas <= min_area
        return self._toggled(labels, small)

    def keep_largest(self, n: int = 1, connectivity: Connectivity = 8) -> Self:
        """A mask of the `n` largest components. Of equal ones, those first by rows stay."""
        labels = self._labels(connectivity)
        others = np.ones(len(labels.areas), bool)
        others[np.argsort(-labels.areas, kind="stable")[:n]] = False
        return self._toggled(labels, others)

    def remove_touching_border(self, connectivity: Connectivity = 8) -> Self:
        """A mask of the components that do not touch the border."""
        labels = self._labels(connectivity)
        return self._toggled(labels, labels.touching_border)

    def fill_holes(self, max_area: int | None = None, connectivity: Connectivity = 8) -> Self:
        """A mask without holes. A hole is background that does not reach the border.

        Parameters
        ----------
        max_area
            Holes of at most so many pixels are filled. If None, all are.
        connectivity
            That of the objects. The background around 8-connected objects is 4-connected, and the
            other way round.
        """
        labels = self._labels(connectivity, of_background=True)
        holes = ~labels.touching_border
        return self._toggled(
            labels, holes if max_area is None else holes & (labels.areas <= max_area)
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a compressed .npz file (`words`, `width`). It appears once it is complete."""
        mask_file.write(Path(path), self.words, self.width)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """The mask that `save` wrote.

        Raises
        ------
        MaskError
            The file is missing, damaged or something else.
        """
        return cls(*mask_file.read(Path(path)))

    def _labels(self, connectivity: int, of_background: bool = False) -> Labels:
        if connectivity not in get_args(Connectivity):
            raise MaskError(
                f"connectivity {connectivity} was requested. It is {choices(Connectivity)}"
            )
        joined = 12 - connectivity if of_background else connectivity
        return label(self.words, self.width, joined, of_background)

    def _toggled(self, labels: Labels, chosen: NDArray[np.bool_]) -> Self:
        return type(self)(toggle(self.words, self.width, labels, chosen), self.width)

    def _same_size(self, other: "BitMask") -> bits.Words:
        if self.shape != other.shape:
            raise MaskError(
                f"a mask of {self.height} x {self.width} pixels was combined with one of"
                f" {other.height} x {other.width}. Both must be of one size"
            )
        return other.words

    def _check_inside(self, row: int, col: int, height: int, width: int) -> None:
        inside = 0 <= row <= row + height <= self.height and 0 <= col <= col + width <= self.width
        if not inside or height < 1 or width < 1:
            raise MaskError(
                f"a window of {height} x {width} pixels at ({row}, {col}) does not lie inside"
                f" the mask of {self.height} x {self.width}. Cut it to the mask first"
            )


def _check_size(height: int, width: int) -> None:
    if height < 1 or width < 1:
        raise MaskError(
            f"a mask of {height} x {width} pixels was requested. It needs at least one pixel"
        )


def rle_encode(
    mask: ArrayLike | BitMask, order: Order = "column", base: int = 1, empty: str = ""
) -> str:
    """The run-length encoding of a mask or of an array, as by `BitMask.to_rle`.

    Pixels of an array that are not 0 are on.

    >>> rle_encode(np.eye(3))
    '1 1 5 1 9 1'
    """
    mask = mask if isinstance(mask, BitMask) else BitMask.from_array(mask)
    return mask.to_rle(order, base, empty)


def rle_decode(
    text: str, shape: tuple[int, int], order: Order = "column", base: int = 1, empty: str = ""
) -> NDArray[np.uint8]:
    """The uint8 array (height, width) of 0 and 1 of an encoding, as by `BitMask.from_rle`."""
    return BitMask.from_rle(text, shape, order, base, empty).to_array()


def rle_check(text: str, base: int = 1, empty: str = "") -> None:
    """Refuse a run-length encoding that no image has, whatever its size.

    Raises
    ------
    MaskError
        The text is anything but ascending, separate runs of positive length.

    >>> rle_check("1 2 5 1")
    """
    rle.check_convention("column", base)
    if text.strip() not in ("", empty):
        rle.parse_runs(text, _LARGEST, base)
