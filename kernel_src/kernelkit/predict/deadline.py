"""How much of the session is left.

A code competition kills a notebook that runs over its hours. A killed notebook has no submission at
all. So an image that would not be finished in time gets its fallback row instead.
"""

import time
from collections.abc import Callable

__all__ = ["Deadline"]


class Deadline:
    """The end of a session of `hours`, less a reserve for writing what there is.

    Parameters
    ----------
    hours
        How long the session may run, counted from now.
    reserve
        Minutes kept back at the end for the submission, the pictures and the report. A quarter
        of the session at most, so that a short one predicts too.
    clock
        Seconds that only ever go up.
    """

    def __init__(
        self, hours: float, reserve: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._end = clock() + hours * 3600 - min(reserve * 60, hours * 3600 / 4)

    @property
    def seconds_left(self) -> float:
        """Seconds until work has to stop. It is negative once it is too late."""
        return self._end - self._clock()

    @property
    def is_over(self) -> bool:
        """Whether work has to stop now."""
        return self.seconds_left <= 0
