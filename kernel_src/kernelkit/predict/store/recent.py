"""The small masks that a process saved last, as they are, so that it need not read them again.

To read an entry of 101 x 101 pixels back takes longer than to encode it for a submission. What
lies in the store is the same, and counts for every other process and every later run.
"""

from kernelkit.mask import BitMask
from kernelkit.predict.store.payload import Stored

__all__ = ["RecentMasks"]

# All of them take at most so many bytes, and each of them so many.
_MOST_BYTES = 64 * 2**20
_LARGEST = 2**20


class RecentMasks:
    """Masks by the names of their entries, within a bound of memory.

    Those that come first stay, since a run hands its images in from the first one on.
    """

    def __init__(self) -> None:
        self._stored: dict[str, Stored] = {}
        self._bytes = 0

    def put(self, name: str, stored: Stored, content: str) -> None:
        """Keep a copy of an entry's masks, if there is room for them."""
        self.forget(name)
        size = _bytes_of(stored)
        if stored.masks is None or size > _LARGEST or self._bytes + size > _MOST_BYTES:
            return
        self._stored[name] = _copy(stored, stored.masks, content)
        self._bytes += size

    def get(self, name: str) -> Stored | None:
        """Copies of the masks that were saved, with their report. None if they were not kept."""
        kept = self._stored.get(name)
        return kept and _copy(kept, kept.masks or [], kept.content)

    def forget(self, name: str) -> None:
        """Keep an entry no longer."""
        gone = self._stored.pop(name, None)
        if gone is not None:
            self._bytes -= _bytes_of(gone)


def _bytes_of(stored: Stored) -> int:
    missing = () if stored.missing is None else (stored.missing,)
    return sum(mask.words.nbytes for mask in (*(stored.masks or ()), *missing))


def _copy(stored: Stored, masks: list[BitMask], content: str) -> Stored:
    missing = stored.missing and stored.missing.copy()
    copies = [mask.copy() for mask in masks]
    return Stored(stored.report, copies, content=content, missing=missing)
