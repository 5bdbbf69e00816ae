"""Run-length encodings as text: the field's "start length start length ...", and COCO's.

Text is made from edges and turned into them (see `kernelkit.mask.runs`) by compiled code, with
int64 positions. Nothing here knows of images, only of a line of `size` pixels.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernelkit.errors import MaskError
from kernelkit.jit import compiled, store_word
from kernelkit.mask.runs import Edges

__all__ = ["Piece", "check_convention", "format_piece", "join_pieces", "parse_runs"]

_PROBLEMS = {
    1: "'{token}' is not a whole number of 1 to 18 digits; write digits and spaces only",
    2: "there is a start without a length (an odd count of numbers); every run takes two numbers",
    3: "the length {token} is not positive; leave empty runs out",
    4: "the start {token} lies before the first pixel, {base}",
    5: "the start {token} lies before the end of the run before it; runs must ascend"
    " and not overlap",
    6: "the run that starts here ends past the last pixel, {last};"
    " check the image's size, order and base",
}


def check_convention(order: str, base: int) -> None:
    """Refuse an order or a base that there is not."""
    if order not in ("column", "row") or base not in (0, 1):
        raise MaskError(
            f"a run-length encoding in {order!r} order from base {base!r} was asked for;"
            ' the order is "column" or "row" and the base 0 or 1.'
        )


class Piece(NamedTuple):
    """The text of a part of the line, and the edges at its ends whose other halves lie outside."""

    closing: list[int]
    text: str
    opening: list[int]


def format_piece(edges: Edges, is_on: bool, base: int) -> Piece:
    """Write the runs that lie whole between `edges`; `is_on` if the first edge closes a run."""
    first = int(is_on and len(edges) > 0)
    last = len(edges) - (len(edges) - first) % 2
    whole = edges[first:last]
    digits = len(str(int(edges[-1]) + base)) if len(edges) else 0
    text = np.empty(len(whole) * (digits + 1) + _SLACK, np.uint8)
    text = text[: _write_runs(whole, base, *_DIGITS, text)]
    return Piece(edges[:first].tolist(), str(text.data, "ascii"), edges[last:].tolist())


def join_pieces(pieces: Iterable[Piece], size: int, base: int) -> str:
    """The text of a line of `size` pixels from that of its pieces, "" if nothing is on."""
    parts: list[str] = []
    open_run: list[int] = []

    def close(edge: int) -> None:
        start = open_run.pop()
        parts.append(f"{start + base} {edge - start} ")

    for piece in pieces:
        for edge in piece.closing:
            close(edge)
        parts.append(piece.text)
        open_run += piece.opening
    if open_run:
        close(size)
    while parts and not parts[-1]:
        parts.pop()
    if parts:
        parts[-1] = parts[-1][:-1]  # the last space
    return "".join(parts)


def parse_runs(text: str, size: int, base: int) -> Edges:
    """The edges that a text was made from; everything about the text is checked.

    Raises `MaskError` with the place in the text of the first thing wrong.
    """
    try:
        data = np.frombuffer(f"{text} ".encode("ascii"), np.uint8)
    except UnicodeEncodeError as error:
        raise _problem(text, 1, error.start, size, base) from None
    edges = np.empty(len(text) // 2 + 1, np.int64)
    count, problem, place = _read_runs(data, size, base, edges)
    if problem:
        raise _problem(text, problem, place, size, base)
    return edges[:count]


def _problem(text: str, problem: int, place: int, size: int, base: int) -> MaskError:
    token = text[place : place + 24].partition(" ")[0]
    what = _PROBLEMS[problem].format(token=token, base=base, last=size - 1 + base)
    return MaskError(f"run-length encoding, character {place}: {what}.")


def _digit_tables() -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """The numbers below 10000 as text: 4 digits and a space in the low bytes of a word.

    The first table has no leading zeros, and the count of its characters in the highest byte.
    """
    number = np.arange(10000, dtype=np.uint64)
    padded = np.full(10000, ord(" ") << 32, np.uint64)
    for place in range(4):
        digit = number // np.uint64(10 ** (3 - place)) % np.uint64(10)
        padded |= (digit + np.uint64(ord("0"))) << np.uint64(8 * place)
    digits = np.uint64(1) + (number >= 10) + (number >= 100) + (number >= 1000)
    short = padded >> (np.uint64(4) - digits) * np.uint64(8)
    return short | (digits + np.uint64(1)) << np.uint64(56), padded


_DIGITS = _digit_tables()
_MOST_DIGITS = 18  # what an int64 holds for certain
_SLACK = 16
"""Bytes past its end that `_write_number` may touch."""


@compiled
def _write_runs(edges, base, short, padded, text):  # type: ignore[no-untyped-def]
    """Write all runs, each number followed by a space; the number of characters."""
    n = 0
    for i in range(0, len(edges), 2):
        n = _write_number(edges[i] + base, short, padded, text, n)
        n = _write_number(edges[i + 1] - edges[i], short, padded, text, n)
    return n


@compiled
def _write_number(number, short, padded, text, n):  # type: ignore[no-untyped-def]
    """Write a number below 10^16 and a space at `text[n]`; the index after them."""
    if number >= 100_000_000:
        high = number // 100_000_000
        number -= high * 100_000_000
        n = _write_short(high, short, padded, text, n) - 1
        middle = number // 10_000
        store_word(text, n, padded[middle])
        store_word(text, n + 4, padded[number - middle * 10_000])
        return n + 9
    return _write_short(number, short, padded, text, n)


@compiled
def _write_short(number, short, padded, text, n):  # type: ignore[no-untyped-def]
    """Write a number below 10^8 and a space at `text[n]`; the index after them."""
    if number < 10_000:
        store_word(text, n, short[number])
        return n + np.int64(short[number] >> np.uint64(56))
    high = number // 10_000
    store_word(text, n, short[high])
    n += np.int64(short[high] >> np.uint64(56)) - 1
    store_word(text, n, padded[number - high * 10_000])
    return n + 5


@compiled
def _is_space(character):  # type: ignore[no-untyped-def]
    return character == 32 or 9 <= character <= 13


@compiled
def _read_runs(data, size, base, edges):  # type: ignore[no-untyped-def]
    """Fill `edges`: (how many, the problem's number or 0, the problem's place).

    `data` ends with a space, so that every number does.
    """
    count = 0
    end = 0
    place = 0
    run_place = 0
    i = 0
    while True:
        while i < len(data) and _is_space(data[i]):
            i += 1
        if i == len(data):
            break
        place = i
        negative = data[i] == 45
        i += negative
        first_digit = i
        number = 0
        digit = int(data[i]) - 48
        while 0 <= digit <= 9:
            number = number * 10 + digit
            i += 1
            digit = int(data[i]) - 48
        if not 1 <= i - first_digit <= _MOST_DIGITS or not _is_space(data[i]):
            return count, 1, place
        if negative:
            number = -number
        if count % 2 == 0:
            run_place = place
            if number < base:
                return count, 4, place
            if number - base < end:
                return count, 5, place
            edges[count] = number - base
        else:
            if number <= 0:
                return count, 3, place
            end = edges[count - 1] + number
            if end > size:
                return count, 6, run_place
            edges[count] = end
        count += 1
    if count % 2:
        return count, 2, run_place
    return count, 0, 0
