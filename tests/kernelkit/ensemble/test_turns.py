"""Threads that use GPUs take turns: any number together, or one alone."""

import threading
from concurrent.futures import ThreadPoolExecutor, wait

import pytest
import torch

from kernelkit.ensemble.turns import Turns, alone, together

pytestmark = pytest.mark.timeout(30)


class Watched:
    """Counts who is in turn, and what should never be seen."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.inside = self.single = 0
        self.seen: list[str] = []
        self._lock = threading.Lock()

    def together(self) -> None:
        with self.turns.together():
            self._enter(1, 0)
            self._leave(1, 0)

    def alone(self) -> None:
        with self.turns.alone():
            self._enter(0, 1)
            self._leave(0, 1)

    def together_then_alone(self) -> None:
        with self.turns.together(), self.turns.together():
            self._enter(1, 0)
            self._leave(1, 0)
            with self.turns.alone(), self.turns.together(), self.turns.alone():
                self._enter(0, 1)
                self._leave(0, 1)
            self._enter(1, 0)
            self._leave(1, 0)

    def _enter(self, inside: int, single: int) -> None:
        with self._lock:
            self.inside += inside
            self.single += single
            if self.single > 1 or (self.single and self.inside):
                self.seen.append(f"{self.single} alone beside {self.inside}")

    def _leave(self, inside: int, single: int) -> None:
        with self._lock:
            self.inside -= inside
            self.single -= single


def test_who_is_alone_is_alone() -> None:
    """Six threads take turns in every order, and none waits for ever."""
    watched = Watched()
    ways = [watched.together, watched.alone, watched.together_then_alone]
    with ThreadPoolExecutor(6) as threads:
        done = [threads.submit(ways[number % 3]) for number in range(600)]
        assert not wait(done, 20).not_done
    for future in done:
        future.result()
    assert watched.seen == []
    assert watched.inside == watched.single == 0


def test_threads_are_together_at_once() -> None:
    """Two threads meet inside. A lock would keep them apart."""
    turns, met = Turns(), threading.Barrier(2)

    def meet() -> int:
        with turns.together():
            return met.wait(10)

    with ThreadPoolExecutor(2) as threads:
        assert sorted(threads.map(lambda _: meet(), range(2))) == [0, 1]


def test_an_error_ends_a_turn() -> None:
    """The next one is in turn then, whichever it is."""
    turns = Turns()
    for turn in (turns.alone, turns.together, turns.alone):
        with pytest.raises(ValueError, match="wrong"), turn():
            raise ValueError("wrong")
    with ThreadPoolExecutor(1) as threads:
        threads.submit(lambda: turns.alone().__enter__()).result(10)


def test_a_wait_that_is_interrupted_leaves_the_turn_to_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As by Ctrl-C in a notebook, where threads go on."""
    turns = Turns()

    def interrupted(*_: object) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    with turns.together():
        monkeypatch.setattr(turns._changed, "wait_for", interrupted)
        with pytest.raises(KeyboardInterrupt), turns.alone():
            pass
    watched = Watched()
    watched.turns = turns
    with ThreadPoolExecutor(1) as threads:
        threads.submit(watched.together).result(10)
        threads.submit(watched.alone).result(10)


def test_a_processor_needs_no_turns() -> None:
    """Threads that compute on processors are alone all at once."""
    met = threading.Barrier(2)

    def meet() -> int:
        with together(torch.device("cpu")), alone(torch.device("cpu")):
            return met.wait(10)

    with ThreadPoolExecutor(2) as threads:
        assert sorted(threads.map(lambda _: meet(), range(2))) == [0, 1]
