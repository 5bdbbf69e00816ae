"""`BitMask`: the mask of a whole image in packed bits, 64 pixels a word, rows first.

A 2-gigapixel mask takes 250 MB, and everything done to it here (set operations, run-length
encoding, components) is done on the packed words: no path makes an array of a byte a pixel.
"""

import os
import pickle
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kernelkit import bits, rle
from kernelkit.errors import MaskError
from kernelkit.runs import Order, edges_of, fill_edges

__all__ = ["BitMask", "rle_decode", "rle_encode"]


class BitMask:
    """A binary mask of `height` x `width` pixels.

    `words` is uint64, (height, ceil(width / 64)); pixel `c` of a row is bit `c % 64` of word
    `c // 64`, and the bits past the last column are always 0. Masks are made with `zeros`,
    `from_array`, `from_rle` or `load`.
    """

    __slots__ = ("height", "width", "words")
    __hash__ = None  # type: ignore[assignment]  # it can be changed in place

    def __init__(self, words: bits.Words, width: int) -> None:
        if words.dtype != np.uint64 or words.ndim != 2 or width < 1 or not len(words):
            raise MaskError(
                f"a mask of width {width} was given {words.dtype} words of shape {words.shape};"
                " it needs uint64 words (height, ceil(width / 64)) and at least one pixel."
            )
        if words.shape[1] != bits.words_per_row(width):
            raise MaskError(
                f"a mask of width {width} was given {words.shape[1]} words a row;"
                f" it needs {bits.words_per_row(width)}."
            )
        self.words = words
        self.height = len(words)
        self.width = width

    @classmethod
    def zeros(cls, height: int, width: int) -> Self:
        """An empty mask."""
        if height < 1 or width < 1:
            raise MaskError(
                f"a mask of {height} x {width} pixels was asked for; it needs at least one pixel."
            )
        return cls(np.zeros((height, bits.words_per_row(width)), np.uint64), width)

    @classmethod
    def from_array(cls, array: ArrayLike, threshold: float | None = None) -> Self:
        """A mask of the pixels that are not 0, or, with a threshold, those above it.

        `array` is (height, width), any strides, of bool, integers or floats; the threshold is on
        the array's own scale (0-255 for uint8 probabilities). NaN is never above a threshold.
        """
        array = np.asarray(array)
        if array.ndim != 2:
            raise MaskError(
                f"a mask was to be made from an array of shape {array.shape};"
                " it needs two dimensions, (height, width)."
            )
        mask = cls.zeros(*array.shape)
        bits.pack(array, threshold, mask.words)
        return mask

    def to_array(self) -> NDArray[np.uint8]:
        """The mask as uint8 (height, width), 0 or 1. It takes a byte a pixel."""
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
        """Overwrite the pixels from (row, col) on with `patch`, an array or a mask.

        Arrays are taken as by `from_array`. The patch must lie inside the mask.
        """
        other = patch if isinstance(patch, BitMask) else BitMask.from_array(patch, threshold)
        self._check_inside(row, col, other.height, other.width)
        bits.place(other.words, other.width, col, self.words[row : row + other.height])

    def crop(self, row: int, col: int, height: int, width: int) -> Self:
        """A copy of a window that lies inside the mask."""
        self._check_inside(row, col, height, width)
        return type(self)(bits.cut(self.words[row : row + height], col, width), width)

    def rows(self, start: int, stop: int) -> Self:
        """The band of rows [start, stop) as a view: what is written to it is written here."""
        self._check_inside(start, 0, stop - start, self.width)
        return type(self)(self.words[start:stop], self.width)

    def copy(self) -> Self:
        """A mask of its own with the same pixels."""
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
        """2 |A and B| / (|A| + |B|); 1 when both are empty."""
        both = bits.count(self.words & self._same_size(other))
        total = self.area + other.area
        return 2 * both / total if total else 1.0

    def iou(self, other: "BitMask") -> float:
        """|A and B| / |A or B|; 1 when both are empty."""
        both = bits.count(self.words & self._same_size(other))
        either = self.area + other.area - both
        return both / either if either else 1.0

    def thumbnail(self, scale: int) -> NDArray[np.float32]:
        """Mean coverage (0 to 1) of each scale x scale block: (ceil(h / scale), ceil(w / scale)).

        Blocks at the right and bottom border are averaged over the pixels they have.
        """
        if scale < 1:
            raise MaskError(f"a thumbnail at scale {scale} was asked for; it needs at least 1.")
        return bits.coverage(self.words, self.width, scale)

    def to_rle(self, order: Order = "column", base: int = 1, empty: str = "") -> str:
        """The mask as "start length start length ...".

        `order` says whether pixels are numbered down the columns (most competitions) or along the
        rows, `base` is the first pixel's number, `empty` is what an empty mask is written as.
        """
        return rle.format_runs(edges_of(self.words, self.width, order), base) or empty

    @classmethod
    def from_rle(
        cls,
        text: str,
        shape: tuple[int, int],
        order: Order = "column",
        base: int = 1,
        empty: str = "",
    ) -> Self:
        """The mask of (height, width) that `to_rle` with these settings wrote as `text`.

        Raises `MaskError`, with the place in the text, for anything that is not ascending,
        separate runs of positive length inside the image.
        """
        mask = cls.zeros(*shape)
        if not isinstance(text, str):
            raise MaskError(
                f"a run-length encoding must be a string, not {text!r};"
                " read the table with keep_default_na=False to keep empty masks as text."
            )
        if text.strip() != empty:
            edges = rle.parse_runs(text, mask.height * mask.width, base)
            fill_edges(edges, mask.width, order, mask.words)
        return mask

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the mask to a compressed .npz file, whole or not at all."""
        path = Path(path)
        unfinished = path.with_name(path.name + ".part")
        with unfinished.open("wb") as file:
            np.savez_compressed(file, words=self.words, width=np.int64(self.width))
        unfinished.replace(path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """The mask that `save` wrote."""
        try:
            with np.load(path) as file:
                return cls(file["words"], int(file["width"]))
        except (ValueError, KeyError, EOFError, OSError, pickle.UnpicklingError) as error:
            raise MaskError(f"{path} is not a saved mask that can be read: {error}.") from error

    def _same_size(self, other: "BitMask") -> bits.Words:
        if self.shape != other.shape:
            raise MaskError(
                f"a mask of {self.height} x {self.width} pixels was combined with one of"
                f" {other.height} x {other.width}; both must be of one size."
            )
        return other.words

    def _check_inside(self, row: int, col: int, height: int, width: int) -> None:
        inside = 0 <= row <= row + height <= self.height and 0 <= col <= col + width <= self.width
        if not inside or height < 1 or width < 1:
            raise MaskError(
                f"a window of {height} x {width} pixels at ({row}, {col}) does not lie inside"
                f" the mask of {self.height} x {self.width}; cut it to the mask first."
            )


def rle_encode(
    mask: ArrayLike | BitMask, order: Order = "column", base: int = 1, empty: str = ""
) -> str:
    """Run-length encoding of a mask or of any 2-D array (pixels that are not 0), as `to_rle`."""
    mask = mask if isinstance(mask, BitMask) else BitMask.from_array(mask)
    return mask.to_rle(order, base, empty)


def rle_decode(
    text: str, shape: tuple[int, int], order: Order = "column", base: int = 1, empty: str = ""
) -> NDArray[np.uint8]:
    """A uint8 array (height, width) of 0 and 1 from its run-length encoding, as `from_rle`."""
    return BitMask.from_rle(text, shape, order, base, empty).to_array()
