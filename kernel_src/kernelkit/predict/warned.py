"""Warnings about single images, of which there may be thousands with one cause.

The first are named when they happen, and the others are counted at the end.
"""

import logging
from collections import Counter

__all__ = ["ImageWarnings"]

# so many images are named for each kind of warning
_NAMED = 5


class ImageWarnings:
    """The warnings of one part of a run.

    Parameters
    ----------
    log
        Where they go.
    """

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._counts: Counter[str] = Counter()

    def warn(self, image: str, what: str, reason: str) -> None:
        """Say what became of an image, and why.

        Parameters
        ----------
        what
            A few words, the same for all images of a kind: "fallback row".
        """
        self._counts[what] += 1
        if self._counts[what] <= _NAMED:
            self._log.warning("%s: %s, because: %s", image, what, reason)

    def close(self) -> None:
        """Say how many images were not named."""
        for what, count in self._counts.items():
            if count > _NAMED:
                more = count - _NAMED
                self._log.warning("%s for %d more image(s). The report says why", what, more)
        self._counts.clear()
