"""The pace of a run: whether what is left still fits before the deadline, and what to give up.

A killed notebook has no score, and an image that is given up has none either. So less is asked of
what remains, in the order that the recipe states, before any image is given up.
"""

from collections.abc import Mapping
from typing import Protocol

from kernelkit.predict.deadline import Deadline
from kernelkit.vocabulary import GiveUp

__all__ = ["Asked", "Pace"]

# seconds of work after which the speed is known well enough
_LEAST_SECONDS = 5.0


class Asked(Protocol):
    """An ensemble of which less can be asked."""

    @property
    def cost(self) -> float:
        """How much work costs now, of what it costs if all is asked."""

    def ask_less(self, what: GiveUp) -> bool:
        """Ask less of it from the next batch on. False if it has no more to give."""


class Pace:
    """Projects the rest of a run from its measured speed.

    Parameters
    ----------
    deadline
        When work has to stop.
    give_up
        What may be given up, in this order.
    models
        All ensembles of the run.
    amounts
        How much work each image is at most, by its id: its tiles, or the pixels of a whole picture.
    """

    def __init__(
        self,
        deadline: Deadline,
        give_up: tuple[GiveUp, ...],
        models: Mapping[str, Asked],
        amounts: Mapping[str, int],
    ) -> None:
        self._deadline = deadline
        self._give_up = give_up
        self._models = models
        self.expect(amounts)
        self._current = 0
        # the work of the images that were begun, and how much of it is no background
        self._seen = 0
        self._wanted = 0
        # work times the cost of asking about it, and since when it is counted
        self._done = 0.0
        self._since: float | None = None

    def expect(self, amounts: Mapping[str, int], others: int = 0) -> None:
        """Replace what waits for its turn.

        Parameters
        ----------
        amounts
            As they were given at the start.
        others
            How much more will come, which is not known by name yet.
        """
        self._waiting = dict(amounts)
        self._waiting_sum = sum(self._waiting.values()) + others

    def take(self, image_id: str) -> None:
        """Take an image off those that wait for their turn."""
        self._waiting_sum -= self._waiting.pop(image_id, 0)

    def begin(self, wanted: int, of: int) -> None:
        """Begin with an image, or with a batch of them, of which `wanted` is no background."""
        self._seen += of
        self._wanted += wanted
        self._current += wanted

    def end(self) -> None:
        """Forget what is left of the images that were begun."""
        self._current = 0

    def advance(self, done: int, model: Asked, keeps: frozenset[GiveUp] = frozenset()) -> None:
        """Count work that is done. If the rest does not fit, have the models be asked for less.

        The first call starts the clock, since what comes before it is warming up.

        Parameters
        ----------
        model
            Who did the work.
        keeps
            What may not be given up now.
        """
        self._current -= done
        left = self._deadline.seconds_left
        if self._since is None:
            self._since = left
            return
        self._done += done * model.cost
        self.adjust(model, keeps)

    def adjust(self, model: Asked, keeps: frozenset[GiveUp] = frozenset()) -> None:
        """If the rest does not fit, have the models be asked for less."""
        left = self._deadline.seconds_left
        elapsed = 0.0 if self._since is None else self._since - left
        if elapsed < _LEAST_SECONDS:
            return
        while self._projected(elapsed, model) > left and self._ask_less(keeps):
            pass

    def _projected(self, elapsed: float, model: Asked) -> float:
        """Seconds that the rest would take."""
        highest = max(other.cost for other in self._models.values())
        share = self._wanted / self._seen if self._seen else 1.0
        rest = self._current * model.cost + self._waiting_sum * share * highest
        return rest * elapsed / self._done if self._done else 0.0

    def _ask_less(self, keeps: frozenset[GiveUp]) -> bool:
        """Take one notch of the first thing that any model still has to give."""
        for what in self._give_up:
            if what in keeps:
                continue
            given = [model.ask_less(what) for model in self._models.values()]
            if any(given):
                return True
        return False
