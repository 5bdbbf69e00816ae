"""The errors of the workshop. All are `KernelKitError`, and each is also a builtin.

There is one class per kind of thing that goes wrong, not per module. Messages have the form that
`kernelkit.errors` describes. An output that cannot be written is an `OutputError` from there.
"""

from kernelkit.errors import KernelKitError

__all__ = [
    "BusyError",
    "ClusterError",
    "DatasetError",
    "DemoError",
    "DryRunError",
    "GpuCheckError",
    "KaggleError",
    "LedgerError",
    "LintError",
    "LockError",
    "ProfileError",
    "ResolveError",
    "SandboxError",
    "SettingsError",
    "ToolError",
    "TwinError",
    "WheelError",
]


class BusyError(KernelKitError, RuntimeError):
    """A folder in which another command is still at work."""


class ClusterError(KernelKitError, ConnectionError):
    """A cluster of dask that does not answer, breaks, or whose workers cannot do the work."""


class DatasetError(KernelKitError, ValueError):
    """A dataset that is not what its manifest says, or that Kaggle would refuse or mangle."""


class DemoError(KernelKitError, ValueError):
    """A file of the demo that is missing or damaged."""


class DryRunError(KernelKitError, RuntimeError):
    """A dry-run that did not reach its end, or whose second run is unlike its first."""


class GpuCheckError(KernelKitError, RuntimeError):
    """A check on a GPU that cannot begin, because something is missing on the machine."""


class KaggleError(KernelKitError, RuntimeError):
    """What Kaggle or its official client refuses, fails at, or does not answer in time."""


class LedgerError(KernelKitError, ValueError):
    """A ledger of submissions that cannot be read."""


class LintError(KernelKitError, ValueError):
    """Code for Kaggle that cannot be read, or that would fail there."""


class LockError(KernelKitError, ValueError):
    """A lock of wheels that was edited or cannot be read."""


class ProfileError(KernelKitError, ValueError):
    """A profile of an image that is missing, malformed or self-contradictory."""


class ResolveError(KernelKitError, ValueError):
    """A request for packages that cannot be met on the image."""


class SandboxError(KernelKitError, RuntimeError):
    """A sandbox that cannot be set up."""


class SettingsError(KernelKitError, ValueError):
    """A setting, in kaggle.toml or the environment, that is missing, wrong or unknown."""


class ToolError(KernelKitError, RuntimeError):
    """A tool (uv, pip, ruff) that is missing or failed.

    Parameters
    ----------
    message
        What failed, and how.
    output
        The tool's own words.

    Attributes
    ----------
    output : str
        As given.
    """

    def __init__(self, message: str, output: str = "") -> None:
        super().__init__(message)
        self.output = output


class TwinError(KernelKitError, RuntimeError):
    """An environment like the image's that cannot be made, or in which the dataset fails."""


class WheelError(KernelKitError, ValueError):
    """A wheel that is malformed, or that the image's Python cannot install."""
