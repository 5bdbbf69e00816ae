"""`Notes`: what did not go as requested, for the report."""

import logging

__all__ = ["Notes"]

_log = logging.getLogger(__name__)


class Notes:
    """Sentences about what did not go as requested. Each is kept and logged once.

    >>> notes = Notes()
    >>> notes.add("CUDA graphs are not used: they need a GPU")
    >>> notes.add("CUDA graphs are not used: they need a GPU")
    >>> notes.sentences
    ['CUDA graphs are not used: they need a GPU']

    Attributes
    ----------
    sentences
        The notes in the order in which they came.
    """

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def add(self, sentence: str) -> None:
        """Keep and log a sentence, unless it is already there."""
        if sentence not in self.sentences:
            self.sentences.append(sentence)
            _log.warning(sentence)
