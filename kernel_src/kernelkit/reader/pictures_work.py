"""What a worker does with pictures: it decodes each once, and writes its inputs where they belong.

A task is a few pictures. It never fails as a whole: what is wrong with a picture comes back as its
sentence. Memory for the inputs is a slot of a `SharedArena` if the worker is another process.
"""

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kernelkit.errors import ReaderError, as_sentence
from kernelkit.files import file_sha256
from kernelkit.memory import available_memory
from kernelkit.reader.pictures_prepare import Preparation, input_sizes, prepare
from kernelkit.reader.shared import LocalArray, SharedArena
from kernelkit.slide import Slide
from kernelkit.slide.budget import in_words
from kernelkit.slide.plain import read_plain

__all__ = ["FoundPicture", "PictureResult", "PictureTask", "Placed"]

# Inputs begin at multiples of this many bytes.
_ALIGNMENT = 64
# A task without a slot ends once its inputs take so many bytes.
_AT_ONCE = 32 << 20
# Pictures that need fewer bytes are read without asking for the free memory.
_SMALL = 64 << 20


class Placed(NamedTuple):
    """An array in a slot: where it begins, and its shape."""

    start: int
    shape: tuple[int, ...]


class FoundPicture(NamedTuple):
    """A picture that was read.

    Attributes
    ----------
    height, width, bands, dtype
        Those of the file.
    layout, notes
        As of its `Slide`.
    content
        The hashes of its files, with a space between them.
    missing
        Where it holds no data, (height, width) bool packed along the rows. None if all is there.
    inputs
        The inputs of the networks, (C, h, w) each. Or where they lie in the slot.
    """

    height: int
    width: int
    bands: int
    dtype: str
    layout: str
    notes: tuple[str, ...]
    content: str
    missing: np.ndarray | None
    inputs: Sequence[np.ndarray | Placed]


class PictureResult(NamedTuple):
    """What became of the pictures of a task.

    Attributes
    ----------
    found
        One after the other: a picture, or why there is none. Fewer than in the task if the slot
        was full, or if the inputs took much memory.
    needed
        How many bytes the first picture takes that did not fit. 0 if all did.
    seconds
        How long it took.
    """

    found: list[FoundPicture | str]
    needed: int
    seconds: float


class PictureTask(NamedTuple):
    """What a worker must know to read some pictures.

    Attributes
    ----------
    pictures
        The paths of each.
    preparation
        What to make of them.
    memory, slot
        Where to put it. Without memory the inputs come back as arrays.
    cache_bytes
        The size of a worker process's cache of decoded blocks.
    """

    pictures: Sequence[tuple[Path, ...]]
    preparation: Preparation
    memory: LocalArray | SharedArena | None
    slot: int
    cache_bytes: int

    @property
    def together(self) -> None:
        """Tasks of pictures may run anywhere."""
        return None

    def run(self, _slides: object) -> PictureResult:
        """Read the pictures."""
        started = time.perf_counter()
        slot = None if self.memory is None else _Slot(self.memory.array[self.slot])
        found: list[FoundPicture | str] = []
        needed = taken = 0
        for paths in self.pictures:
            try:
                picture = _read(paths, self.preparation, slot)
                found.append(picture)
                taken += sum(each.nbytes for each in picture.inputs if isinstance(each, np.ndarray))
            except _SlotFullError as full:
                needed = full.needed
                break
            except Exception as error:  # whatever it is, it costs this picture only
                found.append(as_sentence(error))
            if taken > _AT_ONCE:
                break
        return PictureResult(found, needed, time.perf_counter() - started)


class _SlotFullError(Exception):
    """A picture does not fit into what is left of a slot. It is not damaged."""

    def __init__(self, needed: int) -> None:
        super().__init__()
        self.needed = needed


class _Slot:
    """A part of shared memory, (bytes,) uint8, which is filled from its beginning."""

    def __init__(self, memory: np.ndarray) -> None:
        self._memory, self._used = memory, 0

    def reserve(self, size: int) -> int:
        """Return where the next `size` bytes begin."""
        start = -(-self._used // _ALIGNMENT) * _ALIGNMENT
        if start + size > self._memory.size:
            raise _SlotFullError(size)
        self._used = start + size
        return start

    def array(self, start: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """Return the array that begins at a place."""
        return np.ndarray(shape, dtype, self._memory, start)


def _read(paths: tuple[Path, ...], preparation: Preparation, slot: _Slot | None) -> FoundPicture:
    """Decode a picture and make its inputs."""
    notes: tuple[str, ...] = ()
    is_plain = len(paths) == 1 and preparation.nodata is None
    plain = read_plain(paths[0]) if is_plain else None
    if plain is not None:
        pixels, held, layout, content = plain.pixels, None, plain.layout, plain.sha256
    else:
        pixels, held, layout, notes = _read_slide(paths, preparation)
        content = " ".join(map(file_sha256, paths))
    height, width, bands = pixels.shape
    wanted = min(bands, preparation.bands or bands)
    places, outs = _room_for(pixels, wanted, preparation, slot)
    prepare(pixels, held, preparation, outs)
    missing = None if held is None else np.packbits(~held, axis=1)
    found = (height, width, bands, pixels.dtype.str, layout, notes, content, missing)
    return FoundPicture(*found, outs if slot is None else places)


def _read_slide(
    paths: tuple[Path, ...], preparation: Preparation
) -> tuple[np.ndarray, np.ndarray | None, str, tuple[str, ...]]:
    """Return a picture (H, W, C), where it holds data, its layout and its notes."""
    with Slide(paths, nodata=preparation.nodata) as slide:
        _check_memory(slide, preparation)
        pixels, held = slide.read_whole()
    return pixels, held, slide.layout, tuple(slide.notes)


def _room_for(
    pixels: np.ndarray, bands: int, preparation: Preparation, slot: _Slot | None
) -> tuple[list[Placed], list[np.ndarray]]:
    """Return where the inputs of a picture lie in the slot, and as arrays (C, h, w)."""
    dtype = pixels.dtype
    places, end = [], 0
    for size in input_sizes(pixels.shape[0], pixels.shape[1], preparation):
        places.append(Placed(end, (bands, *size)))
        end += -(-bands * size[0] * size[1] * dtype.itemsize // _ALIGNMENT) * _ALIGNMENT
    if slot is None:
        return places, [np.empty(place.shape, dtype) for place in places]
    start = slot.reserve(end)
    places = [Placed(start + place.start, place.shape) for place in places]
    return places, [slot.array(place.start, place.shape, dtype) for place in places]


def _check_memory(slide: Slide, preparation: Preparation) -> None:
    """Refuse a picture that the memory cannot hold: as it is decoded, padded and resized.

    Raises
    ------
    ReaderError
        It needs more than is free.
    """
    pixels = 2 * slide.height * slide.width
    pixels += sum(map(math.prod, input_sizes(slide.height, slide.width, preparation)))
    needed = pixels * slide.bands * slide.dtype.itemsize
    if needed < _SMALL or needed <= (free := available_memory()):
        return
    raise ReaderError(
        f"{slide.paths[0]}: the whole picture of {slide.height} x {slide.width} pixels takes "
        f"{in_words(needed)}, and {in_words(free)} of memory is free. Give the recipe's tiles a "
        "core"
    )
