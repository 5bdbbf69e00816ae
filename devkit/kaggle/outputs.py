"""Writing at home, with an error that names the place and the setting behind it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kernelkit.errors import OutputError

__all__ = ["writing"]


@contextmanager
def writing(path: Path, key: str) -> Iterator[None]:
    """Write to `path` in this block.

    Parameters
    ----------
    path
        The file or folder, for the error.
    key
        The key of kaggle.toml that names it, or in capitals the variable of make.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    try:
        yield
    except OSError as error:
        other = f"give another {key}"
        if not key.isupper():
            other = f"set {key} in kaggle.toml to another place"
        raise OutputError(
            f"{path} cannot be written ({error.strerror or error}). Make it writable, or {other}"
        ) from None
