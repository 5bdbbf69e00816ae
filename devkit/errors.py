"""The errors of the workshop: all are `KernelKitError`, each is also the builtin it resembles.

A message is one sentence for a user: which file, what was found, what was wanted, what to do.
"""

from kernelkit.errors import KernelKitError

__all__ = [
    "BusyError",
    "DatasetError",
    "ProfileError",
    "ResolveError",
    "ToolError",
    "TwinError",
    "WheelError",
]


class BusyError(KernelKitError, RuntimeError):
    """A folder in which another command is still at work."""


class DatasetError(KernelKitError, ValueError):
    """A dataset that is not what its manifest says, or that Kaggle would refuse or mangle."""


class ProfileError(KernelKitError, ValueError):
    """A profile of an image that is missing, malformed or self-contradictory."""


class ResolveError(KernelKitError, ValueError):
    """A request for packages that cannot be met on the image."""


class ToolError(KernelKitError, RuntimeError):
    """A tool (uv, pip, ruff) that is missing or failed; `output` holds the tool's own words."""

    def __init__(self, message: str, output: str = "") -> None:
        super().__init__(message)
        self.output = output


class TwinError(KernelKitError, RuntimeError):
    """An environment like the image's that cannot be made, or in which the dataset fails."""


class WheelError(KernelKitError, ValueError):
    """A wheel that is malformed, or that the image's Python cannot install."""
