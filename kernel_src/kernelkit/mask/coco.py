"""COCO's compressed run-length encoding, byte for byte that of pycocotools.

The line, one column after the other, is a list of counts: pixels off, on, off, ... From the fourth
on, a count is written as its difference to the count two before it. The number is cut into parts of
5 bits, the lowest first. A sixth bit says that more follow. Each part, added to "0", is a character
(`rleToString` in pycocotools' maskApi.c).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from kernelkit.errors import MaskError, kind_of
from kernelkit.jit import compiled
from kernelkit.mask.runs import Runs

__all__ = ["format_counts", "parse_counts", "parts_of"]

_BITS = 5
# In pixels: more than any image has, and an int64 holds it.
_LARGEST = 10**18
# Of one count, which has 64 bits at most.
_MOST_CHARACTERS = 13
_TRUNCATED, _NOT_A_CHARACTER, _NEGATIVE, _TOO_LONG = range(1, 5)
_PROBLEMS = {
    _TRUNCATED: "the last count is cut off",
    _NOT_A_CHARACTER: "there is a character that no count has",
    _NEGATIVE: "a count is negative",
    _TOO_LONG: "the counts go past the last pixel. Check the image's size",
}


def format_counts(runs: Runs, size: int) -> bytes:
    """The counts of a line of `size` pixels with these runs."""
    text = np.empty((len(runs) + 1) * _MOST_CHARACTERS, np.uint8)
    return text[: _write_counts(runs, size, text)].tobytes()


def parts_of(encoded: Any) -> tuple[Any, Any]:
    """The counts and the size of {"size": [height, width], "counts": bytes or str}.

    Raises
    ------
    MaskError
        It is of another form.
    """
    if isinstance(encoded, Mapping) and {"size", "counts"} <= encoded.keys():
        return encoded["counts"], encoded["size"]
    found = kind_of(encoded)
    if isinstance(encoded, Mapping):
        found = f"the keys {', '.join(map(str, encoded))}"
    polygons = isinstance(encoded, list)
    remedy = "Draw polygons with pycocotools.mask.frPyObjects" if polygons else "Give one mask"
    raise MaskError(f"COCO encoding: found {found:.80}, wanted size and counts. {remedy}")


def parse_counts(text: bytes | str, size: int | None) -> Runs:
    """The runs of a line of `size` pixels from its counts. If it is None, they may end anywhere.

    Raises
    ------
    MaskError
        The counts are not compressed, are damaged, or do not sum to `size`.
    """
    if not isinstance(text, bytes | str):
        raise MaskError(
            f"COCO encoding: found {kind_of(text)} as counts, wanted compressed bytes."
            " Compress them with pycocotools.mask.frPyObjects first"
        )
    text = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    runs = np.empty(len(text) + 1, np.int64)
    count, end, problem, place = _read_counts(
        np.frombuffer(text, np.uint8), _LARGEST if size is None else size, runs
    )
    if problem:
        raise MaskError(f"COCO encoding, character {place}: {_PROBLEMS[problem]}")
    if size is not None and end != size:
        raise MaskError(
            f"COCO encoding: its counts sum to {end} pixels, but the image has {size}."
            " Check the image's size"
        )
    return runs[: count // 2 * 2]


@compiled
def _write_counts(runs, size, text):  # type: ignore[no-untyped-def]
    """Write all counts. Return the number of characters."""
    n = 0
    start = 0
    last, last_but_one = 0, 0
    for i in range(len(runs) + 1):
        stop = runs[i] if i < len(runs) else size
        if i == len(runs) and start == stop:
            break
        rest = stop - start - (last_but_one if i > 2 else 0)
        last, last_but_one = stop - start, last
        start = stop
        more = True
        while more:
            low = rest & 31
            rest >>= _BITS
            more = rest != -1 if low & 16 else rest != 0
            text[n] = 48 + low + 32 * more
            n += 1
    return n


@compiled
def _read_counts(text, size, runs):  # type: ignore[no-untyped-def]
    """Fill `runs` with the ends of the counts.

    Returns how many there are, the last one, the problem or 0, and the problem's place.
    """
    count = 0
    end = 0
    i = 0
    while i < len(text):
        place = i
        value = 0
        shift = 0
        more = True
        while more:
            if i == len(text):
                return count, end, _TRUNCATED, place
            bits = int(text[i]) - 48
            if not 0 <= bits < 64 or shift > 60:
                return count, end, _NOT_A_CHARACTER, i
            value |= (bits & 31) << shift
            shift += _BITS
            more = bits & 32 != 0
            i += 1
            if not more and bits & 16 and shift < 64:
                value |= -1 << shift
        if count > 2:  # the count two before this one is the distance between two ends
            value += runs[count - 2] - runs[count - 3]
        if value < 0:
            return count, end, _NEGATIVE, place
        if value > size - end:
            return count, end, _TOO_LONG, place
        end += value
        runs[count] = end
        count += 1
    return count, end, 0, 0
