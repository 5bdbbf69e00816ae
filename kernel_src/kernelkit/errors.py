"""The errors kernelkit raises: all are `KernelKitError`, each is also the builtin it resembles.

A message is one sentence for a user: which file, what was found, what was wanted, what to do.
"""

__all__ = [
    "CheckpointError",
    "CompetitionError",
    "DeadlineError",
    "DeviceError",
    "GridError",
    "KernelKitError",
    "MaskError",
    "ReaderError",
    "RecipeError",
    "SlideError",
    "SubmissionError",
    "as_sentence",
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


class CheckpointError(KernelKitError, ValueError):
    """A checkpoint that cannot be loaded into the network that its folder describes."""


class DeviceError(KernelKitError, RuntimeError):
    """A device that is missing, or has too little memory for even one tile."""


class CompetitionError(KernelKitError, ValueError):
    """A competition folder that lacks what the recipe expects in it."""


class SubmissionError(KernelKitError, ValueError):
    """A submission that the competition would refuse."""


class DeadlineError(KernelKitError, TimeoutError):
    """The session's time is nearly over: what is not finished gets its fallback."""


def as_sentence(error: Exception) -> str:
    """Any error as one line; its type stands before it where it is not one of ours."""
    text = " ".join(str(error).split()) or "no message"
    return text if isinstance(error, KernelKitError) else f"{type(error).__name__}: {text}"
