"""Run-length encodings as the field's text, "start length start length ...".

Compiled code turns runs (see `kernelkit.mask.runs`) into text and back, with int64 positions.
Nothing here knows of images, only of a line of `size` pixels.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from kernelkit.errors import MaskError
from kernelkit.jit import compiled, store_word
from kernelkit.mask.runs import Runs
from kernelkit.vocabulary import Order, choices

__all__ = ["Piece", "check_convention", "format_piece", "is_empty", "join_pieces", "parse_runs"]

# Characters of a faulty place that a message shows.
_SHOWN = 24
_PROBLEMS = {
    1: "{token!r} is not a whole number of 1 to 18 digits. Write digits and spaces only",
    2: "there is a start without a length (an odd count of numbers). Every run takes two numbers",
    3: "the length {token} is not positive. Leave empty runs out",
    4: "the start {token} lies before the first pixel, {base}. Check the base",
    5: "the start {token} lies before the end of the run before it. Runs must ascend"
    " and not overlap",
    6: "the run that starts here ends past the last pixel, {last}."
    " Check the image's size, order and base",
}


def check_convention(order: str, base: int, empty: str = "") -> None:
    """Refuse an order or a base that does not exist, and an empty mask that is no text."""
    if not isinstance(empty, str):
        raise MaskError(
            f"an empty mask was to be written as {empty!r:.60}. It needs a text, such as '' or '-1'"
        )
    if order not in get_args(Order) or base not in (0, 1):
        raise MaskError(
            f"a run-length encoding in {order!r} order from base {base!r} was requested."
            f" The order is {choices(Order)}, and the base is 0 or 1"
        )


def is_empty(text: str, empty: str) -> bool:
    """Whether an encoding is that of an empty mask."""
    if not isinstance(text, str):
        raise MaskError(
            f"a run-length encoding must be a string, not {text!r:.60}."
            " Read the table with keep_default_na=False to keep empty masks as text"
        )
    return text.strip() in ("", empty)


class Piece(NamedTuple):
    """The text of one part of the line, and the halves of runs at its ends.

    Attributes
    ----------
    closing
        The stop of a run that began in an earlier part, if there is one.
    text
        The runs that lie whole in this part.
    opening
        The start of a run that ends in a later part, if there is one.
    """

    closing: list[int]
    text: str
    opening: list[int]


def format_piece(runs: Runs, is_on: bool, base: int) -> Piece:
    """Write one part of the line.

    Parameters
    ----------
    runs
        The runs of the part. The first may lack its start, the last its stop.
    is_on
        Whether the pixel before the part is on. If it is, `runs` begins with a stop.
    base
        The first pixel's number.
    """
    first = int(is_on and len(runs) > 0)
    last = len(runs) - (len(runs) - first) % 2
    whole = runs[first:last]
    digits = len(str(int(runs[-1]) + base)) if len(runs) else 0
    text = np.empty(len(whole) * (digits + 1) + _SLACK, np.uint8)
    text = text[: _write_runs(whole, base, *_DIGITS, text)]
    return Piece(runs[:first].tolist(), str(text.data, "ascii"), runs[last:].tolist())


def join_pieces(pieces: Iterable[Piece], size: int, base: int) -> str:
    """The text of a line of `size` pixels from its pieces. If nothing is on, it is ""."""
    parts: list[str] = []
    open_run: list[int] = []

    def close(stop: int) -> None:
        start = open_run.pop()
        parts.append(f"{start + base} {stop - start} ")

    for piece in pieces:
        for stop in piece.closing:
            close(stop)
        parts.append(piece.text)
        open_run += piece.opening
    if open_run:
        close(size)
    while parts and not parts[-1]:
        parts.pop()
    if parts:
        parts[-1] = parts[-1][:-1]  # the last space
    return "".join(parts)


def parse_runs(text: str, size: int, base: int) -> Runs:
    """The runs that a text was made from.

    Raises
    ------
    MaskError
        The text is malformed, or does not fit the line. The message names the first faulty place.
    """
    try:
        data = np.frombuffer(f"{text} ".encode("ascii"), np.uint8)
    except UnicodeEncodeError as error:
        raise _problem(text, 1, error.start, size, base) from None
    runs = np.empty(len(text) // 2 + 1, np.int64)
    count, problem, place = _read_runs(data, size, base, runs)
    if problem:
        raise _problem(text, problem, place, size, base)
    return runs[:count]


def _problem(text: str, problem: int, place: int, size: int, base: int) -> MaskError:
    token = re.split("[ \t-\r]", text[place : place + _SHOWN], maxsplit=1)[0]
    what = _PROBLEMS[problem].format(token=token, base=base, last=size - 1 + base)
    return MaskError(f"run-length encoding, character {place}: {what}")


def _digit_tables() -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """The numbers below 10000 as text, 4 digits and a space in the low bytes of a word.

    The first table has no leading zeros. Its highest byte is the count of its characters.
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
# What an int64 holds for certain.
_MOST_DIGITS = 18
# Bytes past its end that `_write_number` may touch.
_SLACK = 16


@compiled
def _write_runs(runs, base, short, padded, text):  # type: ignore[no-untyped-def]
    """Write all runs, each number with a space after it. Return the number of characters."""
    n = 0
    for i in range(0, len(runs), 2):
        n = _write_number(runs[i] + base, short, padded, text, n)
        n = _write_number(runs[i + 1] - runs[i], short, padded, text, n)
    return n


@compiled
def _write_number(number, short, padded, text, n):  # type: ignore[no-untyped-def]
    """Write a number below 10^16 and a space at `text[n]`. Return the index after them."""
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
    """Write a number below 10^8 and a space at `text[n]`. Return the index after them."""
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
def _read_runs(data, size, base, runs):  # type: ignore[no-untyped-def]
    """Fill `runs` from the text `data`, which ends with a space so that every number does.

    Returns how many numbers there are, the problem or 0, and the problem's place.
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
            runs[count] = number - base
        else:
            if number <= 0:
                return count, 3, place
            end = runs[count - 1] + number
            if end > size:
                return count, 6, run_place
            runs[count] = end
        count += 1
    if count % 2:
        return count, 2, run_place
    return count, 0, 0
