"""Text and progress bars that can be shown on any output, and never end a run."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from tqdm import tqdm

__all__ = ["bars_hidden", "printable", "progress", "say"]

_hides_bars = False


def printable(text: str, encoding: str = "utf-8") -> str:
    """The text with every character that `encoding` lacks written as an escape.

    A file name on disk may hold bytes that are no text. Python can keep them, but not print them.
    """
    return text.encode(encoding, "backslashreplace").decode(encoding)


def progress[T](items: Any = None, *, description: str, unit: str, **options: Any) -> "tqdm[T]":
    """Make a progress bar on standard error, so that standard output holds results alone.

    Parameters
    ----------
    items
        What to iterate over. None makes a bar that is updated by hand.
    description, unit
        What is counted, and one of what.
    options
        As of `tqdm`.
    """
    file = _Forgiving(sys.stderr)
    options["disable"] = _hides_bars or options.get("disable", False)
    return tqdm(items, desc=printable(description), unit=unit, file=file, **options)


def say(text: str) -> None:
    """Write lines on standard error, above the progress bars that are shown there."""
    tqdm.write(text, file=_Forgiving(sys.stderr))


@contextlib.contextmanager
def bars_hidden() -> Iterator[None]:
    """Show no new progress bar, as in a process that works for another one."""
    global _hides_bars
    before, _hides_bars = _hides_bars, True
    try:
        yield
    finally:
        _hides_bars = before


class _Forgiving:
    """An output on which writing cannot fail: what it cannot show is escaped, or dropped."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self.encoding = getattr(file, "encoding", None) or "utf-8"

    def __eq__(self, other: object) -> bool:
        # tqdm asks whether a line goes where its bar is, and takes the bar away then. If a bar
        # equals standard error, it flushes standard output too, which must not be closed.
        if getattr(sys.stdout, "closed", False):
            return isinstance(other, _Forgiving) and other._file is self._file
        return self._file is getattr(other, "_file", other)

    def __hash__(self) -> int:
        return hash(self._file)

    def write(self, text: str) -> None:
        # a full disk or a reader that went away is no reason to stop predicting
        with contextlib.suppress(OSError, ValueError):
            self._file.write(printable(text, self.encoding))

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._file.flush()

    def isatty(self) -> bool:
        return self._file.isatty()

    def fileno(self) -> int:
        return self._file.fileno()
