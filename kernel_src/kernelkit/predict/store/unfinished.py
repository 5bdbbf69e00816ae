"""Files in a store that a process is still making, and that go with it if it dies."""

import os
import tempfile
from pathlib import Path

from kernelkit.predict.store.names import file_name

__all__ = ["remove_unfinished", "unfinished_file"]

# how such a name begins, followed by the process, the host and something random
_PREFIX = ".unfinished-"


def unfinished_file(folder: Path, suffix: str) -> Path:
    """Make a new file in the folder, which is made too."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(suffix, f"{_PREFIX}{os.getpid()}-{_host()}-", folder)
    os.close(descriptor)
    return Path(name)


def remove_unfinished(folder: Path) -> None:
    """Remove what dead processes of this machine were making."""
    for path in folder.glob(f"{_PREFIX}*"):
        process, _, rest = path.name.removeprefix(_PREFIX).partition("-")
        # what another machine makes, which shares the folder, looks dead from here
        is_ours = process.isdigit() and rest.startswith(f"{_host()}-")
        if is_ours and not Path(f"/proc/{process}").exists():
            path.unlink(missing_ok=True)


def _host() -> str:
    """This machine, for a file name."""
    return file_name(os.uname().nodename)
