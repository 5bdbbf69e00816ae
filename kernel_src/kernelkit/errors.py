"""The errors that kernelkit raises. All are `KernelKitError`, and each is also a builtin.

There is one class per kind of thing that goes wrong, not per module. A message is written for the
user: which file, what was found, what was wanted, what to do. ". " separates its sentences. It ends
without a full stop, because what shows it adds its own words around it.
"""

from collections.abc import Sequence

__all__ = [
    "CheckpointError",
    "CompetitionError",
    "DeadlineError",
    "DeviceError",
    "EngineError",
    "EvaluationError",
    "GridError",
    "KernelKitError",
    "LabelError",
    "MaskError",
    "NetworkError",
    "NotFiniteError",
    "OutputError",
    "OwnCodeError",
    "ReaderDiedError",
    "ReaderError",
    "RecipeError",
    "SlideError",
    "SubmissionError",
    "TableError",
    "TrainingError",
    "as_sentence",
    "kind_of",
    "listed",
]


class KernelKitError(Exception):
    """The root of every error that kernelkit raises on purpose."""


class GridError(KernelKitError, ValueError):
    """A tile grid that cannot be laid over an image."""


class MaskError(KernelKitError, ValueError):
    """A mask or a run-length encoding that is malformed or does not fit its image."""


class RecipeError(KernelKitError, ValueError):
    """A recipe that cannot be read, or that asks for something that does not exist."""


class SlideError(KernelKitError, OSError):
    """An image file that is missing, truncated, corrupt or of a layout that cannot be read."""


class ReaderError(KernelKitError, RuntimeError):
    """Tiles that could not be delivered: a reader process died, or a block would not decode."""


class ReaderDiedError(ReaderError):
    """A reader process that died over a tile: its file crashes the decoder, or memory ran out."""


class CheckpointError(KernelKitError, ValueError):
    """A checkpoint that cannot be loaded into the network that its folder describes."""


class DeviceError(KernelKitError, RuntimeError):
    """A device that is missing, or has too little memory for even one tile."""


class NotFiniteError(DeviceError):
    """Answers that are no numbers. Another device would give no better ones."""


class NetworkError(KernelKitError, RuntimeError):
    """A network that fails on its input, although its weights were loaded."""


class CompetitionError(KernelKitError, ValueError):
    """A competition folder that lacks what the recipe expects in it."""


class LabelError(KernelKitError, ValueError):
    """Labels that are missing, cannot be read, or do not fit their image."""


class EvaluationError(KernelKitError, ValueError):
    """Predictions that cannot be scored: without truth, of another size, or by a leaking member."""


class SubmissionError(KernelKitError, ValueError):
    """A submission that the competition would refuse."""


class TableError(SubmissionError):
    """A table of rows that cannot be read.

    Attributes
    ----------
    found
        What is wrong with the file. Whoever knows what it is says what to do.
    """

    def __init__(self, found: str, remedy: str = "") -> None:
        super().__init__(f"{found}. {remedy}" if remedy else found)
        self.found = found


class OutputError(KernelKitError, OSError):
    """An output that cannot be written: a folder without access, a full disk, a file in the way."""


class OwnCodeError(KernelKitError, ImportError):
    """Code of the user's own that is not there, is not theirs, or cannot be imported."""


class TrainingError(KernelKitError, ValueError):
    """A training that cannot begin or go on as it was asked for."""


class EngineError(KernelKitError, RuntimeError):
    """An engine that cannot be made, or answers otherwise than the weights that it is made of."""


class DeadlineError(KernelKitError, TimeoutError):
    """The session's time is nearly over. What is not finished gets its fallback."""


def as_sentence(error: Exception) -> str:
    """Return an error as one line that can be printed. A foreign error has its type before it."""
    text = " ".join(str(error).split()) or "no message"
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if isinstance(error, KernelKitError) else f"{type(error).__name__}: {text}"


def kind_of(value: object) -> str:
    """Return what a value is, for a message about one that is of the wrong kind.

    >>> kind_of([1, 2]), kind_of(None)
    ('a value of type list', 'nothing')
    """
    return "nothing" if value is None else f"a value of type {type(value).__name__}"


def listed(names: Sequence[str], most: int) -> str:
    """Return the first names of many, and how many more there are, for a message.

    Parameters
    ----------
    names
        All the names, in the order in which they are read.
    most
        The number of names that the message says.

    Examples
    --------
    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
