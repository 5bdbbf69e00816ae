"""A run that waits for workers says so: once when none is left, and once when some are back."""

from collections.abc import Awaitable, Callable
from contextlib import suppress

from tornado.ioloop import IOLoop, PeriodicCallback

from kernelkit.console import say

__all__ = ["WaitingForWorkers"]

# How often the scheduler is asked, in seconds.
_LOOK = 2.0
# So many times in a row it has no worker. One that is started anew is back by then.
_IN_VAIN = 3


class WaitingForWorkers:
    """Looks whether calls wait for workers that are gone.

    Parameters
    ----------
    address
        Of the scheduler.
    count
        How many workers can do the work now. It may raise that the scheduler does not answer.
    waits
        Whether there is something to do.
    """

    def __init__(
        self, address: str, count: Callable[[], Awaitable[int]], waits: Callable[[], bool]
    ) -> None:
        self._address, self._count, self._waits = address, count, waits
        self._in_vain = 0

    def begin(self, loop: IOLoop) -> Callable[[], None]:
        """Look again and again from now on. Give a function that ends it."""
        looking = PeriodicCallback(self._look, 1000 * _LOOK)
        loop.add_callback(looking.start)
        return lambda: loop.add_callback(looking.stop)

    async def _look(self) -> None:
        with suppress(Exception):  # calls themselves say that the scheduler is gone
            self._take(await self._count())

    def _take(self, workers: int) -> None:
        """Take in how many workers there are, and say what is new."""
        if not workers and self._waits():
            self._in_vain += 1
            if self._in_vain == _IN_VAIN:
                say(
                    f"{self._address}: no worker is left, and the run waits for one. Start some "
                    f"with make worker SCHEDULER={self._address}, and it goes on by itself. "
                    "Ctrl-C loses nothing that is stored"
                )
            return
        if self._in_vain >= _IN_VAIN and workers:
            say(f"{self._address}: {workers} worker(s) are back, and the run goes on")
        self._in_vain = 0
