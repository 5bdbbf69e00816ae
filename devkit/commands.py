"""How every command ends: with its result or one line that says why not, and a true exit code."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps

from kernelkit.errors import KernelKitError

__all__ = ["command", "starting_children"]

_INTERRUPTED = 130


def command[**Arguments](
    name: str, go_on: str = ""
) -> Callable[[Callable[Arguments, int]], Callable[Arguments, int]]:
    """Make the exit code of a command's main function true, whatever happens in it.

    A `KernelKitError` ends the function with the line "NAME failed: SENTENCE" and exit code 1.
    Ctrl-C ends it with one line and exit code 130, as a shell expects. Both lines go to stderr.

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
            try:
                return main(*arguments, **options)
            except KernelKitError as error:
                print(f"{name} failed: {error}", file=sys.stderr)
                return 1
            except KeyboardInterrupt:
                print(f"{name} was interrupted{go_on and f'. {go_on}'}", file=sys.stderr)
                return _INTERRUPTED

        return ended

    return decorate


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
