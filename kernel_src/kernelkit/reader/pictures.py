"""Iterate over whole pictures, prepared for networks, in batches that cross pictures.

    preparation = Preparation(pads=(14, 13), fill="reflect")
    with ReaderPool(2) as readers:
        for batch in PictureReader(pictures, preparation, readers, batch=64):
            predict(batch.inputs)  # one (64, 3, 128, 128) uint8

Each picture is decoded once, and every input is made from its own pixels. Pictures of one shape
share a batch. Which do depends on their headers alone, never on who reads them or how fast.
"""

from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import numpy as np

from kernelkit.reader.pictures_groups import (
    Groups,
    PictureBatch,
    PictureInfo,
    PictureShape,
    input_bytes,
)
from kernelkit.reader.pictures_pass import PicturePass
from kernelkit.reader.pictures_prepare import Preparation
from kernelkit.reader.pictures_work import FoundPicture
from kernelkit.reader.workers import ReaderPool
from kernelkit.slide.header import look_at

__all__ = ["PictureBatch", "PictureInfo", "PictureReader", "Preparation"]


class PictureReader:
    """Pictures in batches of one shape: iterating gives `PictureBatch`.

    A picture that cannot be read costs no other. It comes out as `failed`, with its sentence. Its
    batch is one short then, if at least its header can be read. If a worker dies, what it had begun
    is read again by one new process. What kills that one too has failed, and keeps no place in a
    batch.

    Memory does not grow with the number of pictures. A reader can be iterated again, and then reads
    again. The end of a pass gives back memory and files. So does a caller that leaves the loop
    early, once the iterator is closed.

    Parameters
    ----------
    pictures
        The files of each picture.
    prepare
        What to make of each.
    readers
        Who reads: processes, threads, or this thread.
    batch
        Pictures per batch. Large pictures come in smaller batches.
    timeout
        After so many seconds without progress a worker counts as dead.

    Attributes
    ----------
    notes
        What went otherwise in the last pass, a sentence each.
    """

    def __init__(
        self,
        pictures: Sequence[tuple[Path, ...]],
        prepare: Preparation,
        readers: ReaderPool,
        batch: int,
        *,
        timeout: float = 300.0,
    ) -> None:
        self.pictures, self.prepare, self.readers, self.batch = pictures, prepare, readers, batch
        self.notes: list[str] = []
        self._timeout = timeout

    def __len__(self) -> int:
        return len(self.pictures)

    def __iter__(self) -> Generator[PictureBatch]:
        groups = Groups(self.batch)
        failed: list[tuple[int, str]] = []
        run = PicturePass(self.pictures, self.prepare, self.readers, self.batch, self._timeout)
        self.notes = run.notes
        try:
            for number, found, inputs in run.results():
                if isinstance(found, str):
                    failed.append((number, found))
                    # what two workers died of is not opened here
                    is_deadly = number in run.lost_over
                    ready = iter(()) if is_deadly else self._leave_out(number, groups)
                else:
                    ready = groups.add(number, _info(found), inputs)
                for batch in ready:
                    yield _with_failed(batch, failed)
                    failed = []
            for batch in groups.rest():
                yield _with_failed(batch, failed)
                failed = []
            if failed:
                yield PictureBatch([], [], [], failed)
        finally:
            run.close()

    def _leave_out(self, number: int, groups: Groups) -> Iterator[PictureBatch]:
        """Keep the place of a picture that failed, if at least its header can be read."""
        try:
            height, width, bands, dtype = look_at(self.pictures[number])
        except Exception:  # nobody else can know its shape either
            return iter(())
        shape = PictureShape(height, width, bands, np.dtype(dtype))
        return groups.leave_out(number, shape, input_bytes(shape, self.prepare))


def _info(found: FoundPicture) -> PictureInfo:
    missing = None
    if found.missing is not None:
        # workers import this module too, and need no numba
        from kernelkit.mask import BitMask

        pixels = np.unpackbits(found.missing, axis=1, count=found.width)
        missing = BitMask.from_array(pixels)
    return PictureInfo(
        found.height,
        found.width,
        found.bands,
        np.dtype(found.dtype),
        found.layout,
        found.notes,
        found.content,
        missing,
    )


def _with_failed(batch: PictureBatch, failed: list[tuple[int, str]]) -> PictureBatch:
    return PictureBatch(batch.numbers, batch.inputs, batch.pictures, failed)
