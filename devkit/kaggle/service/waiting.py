"""Wait until Kaggle has something, with a time limit."""

import time
from collections.abc import Callable

from devkit.errors import KaggleError

__all__ = ["wait_for"]


def wait_for[T](
    what: str,
    check: Callable[[], T | None],
    *,
    seconds: float,
    every: float,
    go_on: str = "Run the same command again to go on waiting",
) -> T:
    """Call `check` until it returns something.

    Parameters
    ----------
    what
        What is waited for, for the error: "the score of a.csv".
    check
        Returns None while there is nothing yet.
    seconds
        The time limit.
    every
        The pause between two calls, in seconds.
    go_on
        The last sentence of the error: what to do next.

    Returns
    -------
    What `check` returned last.

    Raises
    ------
    KaggleError
        The time is up.
    """
    until = time.monotonic() + seconds
    while (found := check()) is None:
        if time.monotonic() + every > until:
            raise KaggleError(f"waited {seconds:g} s for {what}, without success. {go_on}")
        time.sleep(every)
    return found
