"""How every command ends: with its result or one line that says why not, and a true exit code."""

import io
import logging
import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import TextIO

from devkit.bars import messages_shown
from kernelkit.errors import KernelKitError
from kernelkit.memory import available_memory

__all__ = ["command", "forgiving_output"]

_INTERRUPTED = 130
# what a shell shows of a program that `kill` ended
_TERMINATED = 143
# what a shell shows of a program whose reader went away
_UNREAD = 141
# set to anything but 0, it shows where an unexpected error came from
_DEBUG = "KERNELKIT_DEBUG"


def command[**Arguments](
    name: str, go_on: str = ""
) -> Callable[[Callable[Arguments, int]], Callable[Arguments, int]]:
    """Make the exit code of a command's main function true, whatever happens in it.

    A `KernelKitError` ends the function with the line "NAME failed: SENTENCE" and exit code 1.
    Any other error is a fault of the program. It ends in one line too, which says how to see the
    traceback. Ctrl-C ends it with one line and exit code 130, as a shell expects. `kill` ends it
    with one line and exit code 143. All these lines go to stderr. What kernelkit warns of stands
    there once, above the bars. What stdout cannot encode is printed as an escape.

    Parameters
    ----------
    name
        What the command is called in its last line.
    go_on
        A sentence that the line after Ctrl-C adds, such as how to go on.

    Returns
    -------
    A decorator.
    """

    def decorate(main: Callable[Arguments, int]) -> Callable[Arguments, int]:
        @wraps(main)
        def ended(*arguments: Arguments.args, **options: Arguments.kwargs) -> int:
            _open_what_is_closed()
            _print_any_text()
            try:
                with _terminable(), messages_shown(logging.WARNING):
                    code = main(*arguments, **options)
                    sys.stdout.flush()
                return code
            except Exception as error:
                if isinstance(error, BrokenPipeError) and _is_unread():
                    _print_nowhere(sys.stdout)
                    return _UNREAD
                if os.environ.get(_DEBUG, "0") != "0":
                    traceback.print_exception(error)
                is_foreseen = isinstance(error, KernelKitError)
                said = str(error) if is_foreseen else _unexpected(error)
                _say(f"{name} failed: {said}")
                return 1
            except (KeyboardInterrupt, _TerminatedError) as error:
                how, code = _ENDINGS[type(error)]
                _say(f"{name} was {how}{go_on and f'. {go_on}'}")
                return code
            finally:
                with suppress(ValueError):  # it is closed
                    _print_what_is_left(sys.stdout)

        return ended

    return decorate


@contextmanager
def forgiving_output() -> Iterator[None]:
    """Go on in silence once what is printed can go nowhere, such as into a file on a full disk.

    It is for commands whose result is a file. A line says that not all was printed.
    """
    printed, told = sys.stdout, sys.stderr
    forgiving = [_Forgiving(printed), _Forgiving(told)]
    sys.stdout, sys.stderr = forgiving
    try:
        yield
    finally:
        sys.stdout, sys.stderr = printed, told
        if reason := forgiving[0].reason:
            _say(f"what was printed is not complete ({reason})")


class _Forgiving(io.TextIOBase):
    """A stream that passes on what is printed, until it meets an error. `reason` says which."""

    def __init__(self, stream: TextIO) -> None:
        self.reason = ""
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except (OSError, ValueError) as error:
            self._give_up(error)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._give_up(error)

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def _give_up(self, error: Exception) -> None:
        if isinstance(error, BrokenPipeError):
            raise error
        self.reason = self.reason or getattr(error, "strerror", "") or str(error)
        _print_nowhere(self._stream)


class _TerminatedError(BaseException):
    """Somebody asked this process to end."""


_ENDINGS: dict[type[BaseException], tuple[str, int]] = {
    KeyboardInterrupt: ("interrupted", _INTERRUPTED),
    _TerminatedError: ("ended by SIGTERM", _TERMINATED),
}


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, so that nothing is left behind."""

    def end(_number: int, _frame: object) -> None:
        raise _TerminatedError

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _open_what_is_closed() -> None:
    """Give a closed standard stream to nowhere, or the next file that is opened would be it."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
            setattr(sys, name, os.fdopen(number, "r" if name == "stdin" else "w", closefd=False))


def _print_any_text() -> None:
    """Let no character end a command: what a stream cannot encode becomes an escape."""
    for stream in (sys.stdout, sys.stderr):
        # the second is that of a system without a language
        is_strict = getattr(stream, "errors", "") in ("strict", "surrogateescape")
        if is_strict and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _say(line: str) -> None:
    """Print a line to stderr. If that is full or closed, nobody can be told."""
    with suppress(OSError, ValueError):
        print(line, file=sys.stderr)
    with suppress(ValueError):
        _print_what_is_left(sys.stderr)


def _print_what_is_left(stream: TextIO) -> None:
    """Print what is left, or let it go. Otherwise the interpreter would complain at its end."""
    try:
        stream.flush()
    except OSError:
        _print_nowhere(stream)


def _is_unread() -> bool:
    """Whether the reader of stdout went away, such as that of `make submissions | head`."""
    try:
        output = sys.stdout.fileno()
    except (OSError, ValueError):  # it is no file at all
        return False
    poll = select.poll()
    poll.register(output, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _print_nowhere(stream: TextIO) -> None:
    """Let all that a stream has not printed yet, and will print, go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _unexpected(error: Exception) -> str:
    """One line about an error that nobody foresaw, and how to see more."""
    if isinstance(error, MemoryError):
        free = f"{available_memory() / 2**30:.1f} GiB are free"
        return f"the machine has too little memory ({free}). Close other programs, or give it less"
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename is not None else ""
        return f"{place}{error.strerror}. Set {_DEBUG}=1 to see where it came from"
    words = " ".join(str(error).split())
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"a fault of kernelkit, {type(error).__name__}{words and f' ({words})'} in "
        f"{Path(frame.filename).name}, line {frame.lineno}. Set {_DEBUG}=1 to see the traceback, "
        "and report it"
    )
