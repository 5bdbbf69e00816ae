"""The slides that a worker keeps open, since its next task is likely to read the same one."""

import pickle
import threading

from kernelkit.slide import Slide

__all__ = ["OpenSlides"]


class OpenSlides(threading.local):
    """The slides that one thread has open, at most two: this image's and the next one's."""

    def __init__(self) -> None:
        self._slides: dict[bytes, Slide] = {}

    def open(self, source: bytes) -> Slide:
        """Return the slide of this source, open in this thread."""
        if source not in self._slides:
            while len(self._slides) > 1:
                self._slides.pop(next(iter(self._slides))).close()
            self._slides[source] = pickle.loads(source)
        return self._slides[source]

    def close(self) -> None:
        """Close the slides of the calling thread."""
        while self._slides:
            self._slides.popitem()[1].close()
