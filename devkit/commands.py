"""How every command ends: with its result or one line that says why not, and a true exit code."""

import sys
from collections.abc import Callable
from functools import wraps

from kernelkit.errors import KernelKitError

__all__ = ["command"]

_INTERRUPTED = 130


def command[**Arguments](
    name: str,
) -> Callable[[Callable[Arguments, int]], Callable[Arguments, int]]:
    """Make the exit code of a command's main function true, whatever happens in it.

    Parameters
    ----------
    name
        What the command is called in its last line.

    Returns
    -------
    A decorator. A `KernelKitError` ends the function with the line "NAME failed: SENTENCE" on
    stderr and 1. Ctrl-C ends it with one line and 130, as a shell expects.
    """

    def decorate(main: Callable[Arguments, int]) -> Callable[Arguments, int]:
        @wraps(main)
        def ended(*arguments: Arguments.args, **options: Arguments.kwargs) -> int:
            try:
                return main(*arguments, **options)
            except KernelKitError as error:
                print(f"{name} failed: {error}", file=sys.stderr)
                return 1
            except KeyboardInterrupt:
                print(f"{name} was interrupted", file=sys.stderr)
                return _INTERRUPTED

        return ended

    return decorate
