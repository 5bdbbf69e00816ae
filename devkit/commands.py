"""How every command ends: with its result or one line that says why not, and a true exit code."""

import os
import select
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path

from kernelkit.errors import KernelKitError

__all__ = ["command", "starting_children"]

_INTERRUPTED = 130
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
    traceback. Ctrl-C ends it with one line and exit code 130, as a shell expects. All these lines
    go to stderr. What stdout cannot encode is printed as an escape.

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
            _print_any_text()
            try:
                return main(*arguments, **options)
            except Exception as error:
                if isinstance(error, BrokenPipeError) and _is_unread():
                    return _UNREAD
                if os.environ.get(_DEBUG, "0") != "0":
                    traceback.print_exception(error)
                is_foreseen = isinstance(error, KernelKitError)
                said = str(error) if is_foreseen else _unexpected(error)
                print(f"{name} failed: {said}", file=sys.stderr)
                return 1
            except KeyboardInterrupt:
                print(f"{name} was interrupted{go_on and f'. {go_on}'}", file=sys.stderr)
                return _INTERRUPTED

        return ended

    return decorate


def _print_any_text() -> None:
    """Let no character end a command: what a stream cannot encode becomes an escape."""
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "errors", "") == "strict" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _is_unread() -> bool:
    """Whether the reader of stdout went away, such as that of `make submissions | head`.

    If so, what is unprinted goes nowhere. Otherwise the interpreter would complain at its end.
    """
    try:
        output = sys.stdout.fileno()
    except (OSError, ValueError):  # it is no file at all
        return False
    poll = select.poll()
    poll.register(output, 0)
    if not any(event & select.POLLERR for _, event in poll.poll(0)):
        return False
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, output)
    os.close(nowhere)
    return True


def _unexpected(error: Exception) -> str:
    """One line about an error that nobody foresaw, and how to see more."""
    if isinstance(error, MemoryError):
        return "the machine has too little memory. Close other programs, or give it less at a time"
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


@contextmanager
def starting_children() -> Iterator[None]:
    """Start processes that Ctrl-C does not reach.

    A terminal sends Ctrl-C to all processes of a command. Each would print a traceback of its own.
    Processes that are started in this block never get it. The command itself gets it at the end
    of the block, and must end its processes then.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
