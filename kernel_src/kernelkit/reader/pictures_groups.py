"""Pictures of one shape share batches, in an order that depends on the pictures alone."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from kernelkit.reader.pictures_prepare import Preparation, input_sizes

if TYPE_CHECKING:
    from kernelkit.mask import BitMask

__all__ = ["Grouping", "Groups", "PictureBatch", "PictureInfo", "PictureShape", "input_bytes"]

# The inputs of a batch take at most so many bytes, unless one picture takes more.
_BATCH_BYTES = 256 << 20
# Pictures that wait for others of their shape take at most so many bytes.
_WAITING_BYTES = 256 << 20
# A picture waits for others of its shape while so many batches of later pictures come in.
_PATIENCE = 16


@dataclass(frozen=True, slots=True)
class PictureInfo:
    """What a file holds.

    Attributes
    ----------
    height, width, bands, dtype
        Those of the file's pixels.
    layout, notes
        As of its `Slide`.
    content
        The hashes of its files, as `file_sha256` gives them, with a space between them.
    missing
        The pixels without data, at the source's size. None if all hold data.
    """

    height: int
    width: int
    bands: int
    dtype: np.dtype
    layout: str
    notes: tuple[str, ...] = ()
    content: str = ""
    missing: "BitMask | None" = None


@dataclass(frozen=True, slots=True)
class PictureBatch:
    """Some pictures of one shape and dtype.

    Attributes
    ----------
    numbers
        Their places in the sequence that the reader was given, ascending. It is empty if a batch
        only says which pictures failed.
    inputs
        One array (N, C, h, w) per input size, in the order of the preparation.
    pictures
        What the files hold, in the order of `numbers`.
    failed
        Pictures that cannot be read, since the batch before: their numbers, and why.
    """

    numbers: list[int]
    inputs: list[np.ndarray]
    pictures: list[PictureInfo]
    failed: list[tuple[int, str]] = field(default_factory=list)


class PictureShape(NamedTuple):
    """What pictures must share to be in one batch."""

    height: int
    width: int
    bands: int
    dtype: np.dtype


def input_bytes(shape: PictureShape, preparation: Preparation) -> int:
    """What the inputs of a picture of this shape take."""
    bands = min(preparation.bands or shape.bands, shape.bands)
    sides = input_sizes(shape.height, shape.width, preparation)
    return sum(height * width for height, width in sides) * bands * shape.dtype.itemsize


@dataclass
class _Waiting:
    """Pictures of one shape that wait for others."""

    room: int
    bytes_each: int
    numbers: list[int] = field(default_factory=list)


class Grouping:
    """Which pictures share a batch. It depends on their shapes and their order alone.

    A batch comes out when it is full. If too much waits, or one picture for too long, its group
    comes out as it is. So memory is bounded whatever the shapes.

    Parameters
    ----------
    batch
        Pictures per batch.
    """

    def __init__(self, batch: int) -> None:
        self._batch = batch
        self._groups: dict[PictureShape, _Waiting] = {}  # those that wait longest come first
        self._bytes = 0

    def room(self, size: int) -> int:
        """How many pictures a batch has whose inputs take `size` bytes each."""
        return max(1, min(self._batch, _BATCH_BYTES // max(1, size)))

    def add(
        self, number: int, shape: PictureShape, size: int
    ) -> Iterator[tuple[PictureShape, list[int]]]:
        """Add a picture whose inputs take `size` bytes. Iterate over the batches that are ready."""
        group = self._groups.setdefault(shape, _Waiting(self.room(size), size))
        group.numbers.append(number)
        self._bytes += size
        if len(group.numbers) == group.room:
            yield self._take(shape)
        while self._groups and (self._bytes > _WAITING_BYTES or self._waits_too_long(number)):
            yield self._take(next(iter(self._groups)))

    def rest(self) -> Iterator[tuple[PictureShape, list[int]]]:
        """Iterate over the batches that are not full, when there are no more pictures."""
        while self._groups:
            yield self._take(next(iter(self._groups)))

    def _waits_too_long(self, number: int) -> bool:
        first = next(iter(self._groups.values())).numbers[0]
        return number - first > _PATIENCE * self._batch

    def _take(self, shape: PictureShape) -> tuple[PictureShape, list[int]]:
        group = self._groups.pop(shape)
        self._bytes -= len(group.numbers) * group.bytes_each
        return shape, group.numbers


@dataclass
class _Group:
    """The inputs of pictures of one shape that wait for others."""

    memory: list[np.ndarray]
    picture_bytes: int
    pictures: list[PictureInfo] = field(default_factory=list)


class Groups:
    """Pictures that wait for others of their shape, with memory for their inputs.

    Parameters
    ----------
    batch
        Pictures per batch.
    """

    def __init__(self, batch: int) -> None:
        self._grouping = Grouping(batch)
        self._groups: dict[PictureShape, _Group] = {}
        self._left_out: set[int] = set()

    def add(
        self, number: int, picture: PictureInfo, inputs: list[np.ndarray]
    ) -> Iterator[PictureBatch]:
        """Copy a picture's inputs (C, h, w). Iterate over the batches that are finished by it."""
        shape = PictureShape(picture.height, picture.width, picture.bands, picture.dtype)
        group = self._groups.get(shape)
        if group is None:
            group = self._groups[shape] = self._new_group(inputs)
        for memory, pixels in zip(group.memory, inputs, strict=True):
            memory[len(group.pictures)] = pixels
        group.pictures.append(picture)
        for ready, numbers in self._grouping.add(number, shape, group.picture_bytes):
            yield self._take(ready, numbers)

    def leave_out(self, number: int, shape: PictureShape, size: int) -> Iterator[PictureBatch]:
        """Keep the place of a picture that failed. Iterate over the batches that are finished.

        Its batch is one short. So batches depend on what the headers of files say, and not on which
        pictures can be decoded.

        Parameters
        ----------
        size
            What its inputs would take, in bytes.
        """
        self._left_out.add(number)
        for ready, numbers in self._grouping.add(number, shape, size):
            yield self._take(ready, numbers)

    def rest(self) -> Iterator[PictureBatch]:
        """Iterate over the batches that are not full, when there are no more pictures."""
        for ready, numbers in self._grouping.rest():
            yield self._take(ready, numbers)

    def _new_group(self, inputs: list[np.ndarray]) -> _Group:
        size = sum(pixels.nbytes for pixels in inputs)
        room = self._grouping.room(size)
        return _Group([np.empty((room, *pixels.shape), pixels.dtype) for pixels in inputs], size)

    def _take(self, shape: PictureShape, numbers: list[int]) -> PictureBatch:
        read = [number for number in numbers if number not in self._left_out]
        self._left_out.difference_update(numbers)
        if not read:
            return PictureBatch([], [], [])
        group = self._groups.pop(shape)
        return PictureBatch(read, [each[: len(read)] for each in group.memory], group.pictures)
