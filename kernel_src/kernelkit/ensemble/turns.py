"""`together` and `alone`: whose turn it is, if several threads of a process use GPUs.

Threads that compute do not disturb each other, with two exceptions. While a CUDA graph is recorded,
nothing else may wait for that GPU. What finds out whether it can be recorded is a switch for the
whole process. And the peak of a GPU's memory is one number for all threads. So whoever records or
measures is alone meanwhile.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

__all__ = ["Turns", "alone", "together"]


class Turns:
    """Threads take turns: either any number of them together, or one alone."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._together = 0
        self._waiting = 0
        self._is_alone = False
        self._own = threading.local()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Beside others that do the same. A thread that is in turn already goes on."""
        if self._is_in("together") or self._is_in("alone"):
            yield
            return
        self._enter()
        self._own.together = True
        try:
            yield
        finally:
            self._own.together = False
            self._leave()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Without any other thread. One that is `together` steps back for that, and waits."""
        if self._is_in("alone"):
            yield
            return
        was_together = self._is_in("together")
        if was_together:  # else two that do the same would wait for each other
            self._leave()
        try:
            self._begin_alone()
            try:
                yield
            finally:
                with self._changed:
                    self._is_alone = self._own.alone = False
                    self._changed.notify_all()
        finally:
            if was_together:
                self._enter()

    def _begin_alone(self) -> None:
        with self._changed:
            self._waiting += 1
            try:
                self._changed.wait_for(lambda: not self._is_alone and not self._together)
            finally:  # Ctrl-C ends a wait too, and the others go on
                self._waiting -= 1
                self._changed.notify_all()
            self._is_alone = self._own.alone = True

    def _is_in(self, turn: str) -> bool:
        return getattr(self._own, turn, False)

    def _enter(self) -> None:
        with self._changed:
            # who waits to be alone goes first, else it would wait for ever
            self._changed.wait_for(lambda: not self._is_alone and not self._waiting)
            self._together += 1

    def _leave(self) -> None:
        with self._changed:
            self._together -= 1
            self._changed.notify_all()


_TURNS = Turns()


def together(device: torch.device) -> AbstractContextManager[None]:
    """For what uses a GPU, beside other threads. It is the thread's current GPU meanwhile.

    On a processor nothing has to wait.
    """
    return _on(device, _TURNS.together)


def alone(device: torch.device) -> AbstractContextManager[None]:
    """For what records or measures on a GPU. It is the thread's current GPU meanwhile.

    On a processor nothing has to wait.
    """
    return _on(device, _TURNS.alone)


@contextmanager
def _on(device: torch.device, turn: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    if device.type != "cuda":
        yield
        return
    with turn(), torch.cuda.device(device):
        yield
