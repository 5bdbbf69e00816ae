"""Run-length encodings as text: the field's "start length start length ...".

Text is made from, and turned into, edges (see `kernelkit.runs`) by compiled code, with int64
positions. Nothing here knows of images: only of a line of `size` pixels.
"""

import numpy as np

from kernelkit.errors import MaskError
from kernelkit.jit import compiled
from kernelkit.runs import Edges

__all__ = ["format_runs", "parse_runs"]

_PROBLEMS = {
    1: "'{token}' is not a whole number; write digits and spaces only",
    2: "there is a start without a length (an odd count of numbers); every run takes two numbers",
    3: "the length {token} is not positive; leave empty runs out",
    4: "the start {token} lies before the first pixel, {base}",
    5: "the start {token} lies before the end of the run before it; runs must ascend"
    " and not overlap",
    6: "the run that starts here ends past the last pixel, {last};"
    " check the image's size, order and base",
}


def format_runs(edges: Edges, base: int) -> str:
    """The runs as "start length ...", the first pixel being number `base`."""
    if not len(edges):
        return ""
    digits = len(str(int(edges[-1]) + base))
    text = np.empty(len(edges) * (digits + 1), np.uint8)
    return str(text[: _write_runs(edges, base, text) - 1].data, "ascii")


def parse_runs(text: str, size: int, base: int) -> Edges:
    """The edges that `format_runs` would have been given; everything about the text is checked.

    Raises `MaskError` with the place in the text of the first thing wrong.
    """
    try:
        data = np.frombuffer(text.encode("ascii"), np.uint8)
    except UnicodeEncodeError as error:
        raise _problem(text, 1, error.start, size, base) from None
    edges = np.empty(len(text) // 2 + 1, np.int64)
    count, problem, place = _read_runs(data, size, base, edges)
    if problem:
        raise _problem(text, problem, place, size, base)
    return edges[:count]


def _problem(text: str, problem: int, place: int, size: int, base: int) -> MaskError:
    token = text[place:].split(maxsplit=1)[0] if text[place:].strip() else ""
    token = token if len(token) <= 24 else token[:21] + "..."
    what = _PROBLEMS[problem].format(token=token, base=base, last=size - 1 + base)
    return MaskError(f"run-length encoding, character {place}: {what}.")


@compiled
def _write_number(number, text, n):  # type: ignore[no-untyped-def]
    """Write digits and a space at `text[n:]`; the index after them."""
    digits = 1
    limit = 10
    while number >= limit:
        digits += 1
        limit *= 10
    for i in range(n + digits - 1, n - 1, -1):
        rest = number // 10
        text[i] = 48 + number - rest * 10
        number = rest
    text[n + digits] = 32
    return n + digits + 1


@compiled
def _write_runs(edges, base, text):  # type: ignore[no-untyped-def]
    """Write all runs, each number followed by a space; the number of characters."""
    n = 0
    for i in range(0, len(edges), 2):
        n = _write_number(edges[i] + base, text, n)
        n = _write_number(edges[i + 1] - edges[i], text, n)
    return n


@compiled
def _read_runs(data, size, base, edges):  # type: ignore[no-untyped-def]
    """Fill `edges`: (how many, the problem's number or 0, the problem's place)."""
    count = 0
    end = 0
    place = 0
    i = 0
    while True:
        while i < len(data) and (data[i] == 32 or 9 <= data[i] <= 13):
            i += 1
        if i == len(data):
            break
        place = i
        sign = 1
        if data[i] == 45:
            sign = -1
            i += 1
        number = 0
        first_digit = i
        while i < len(data) and 48 <= data[i] <= 57 and i - first_digit < 18:
            number = number * 10 + (data[i] - 48)
            i += 1
        if i == first_digit or (i < len(data) and not (data[i] == 32 or 9 <= data[i] <= 13)):
            return count, 1, place
        number *= sign
        if count & 1 == 0:
            if number < base:
                return count, 4, place
            if number - base < end:
                return count, 5, place
            edges[count] = number - base
            start_place = place
        else:
            if number <= 0:
                return count, 3, place
            end = edges[count - 1] + number
            if end > size:
                return count, 6, start_place
            edges[count] = end
        count += 1
    if count & 1:
        return count, 2, place
    return count, 0, 0
