"""Remove what was made here, and nothing that a link leads to."""

import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from devkit.errors import BusyError, SettingsError
from devkit.forget.places import LOCK, Place
from kernelkit.errors import OutputError

__all__ = ["nobody_at_work", "refuse_linked", "remove"]


@contextmanager
def nobody_at_work(build: Path) -> Iterator[None]:
    """Keep dry-runs out of a build folder meanwhile.

    Raises
    ------
    BusyError
        One is at work there.
    """
    if not build.is_dir():
        yield
        return
    try:
        with FileLock(build / LOCK, blocking=False):
            yield
    except Timeout:
        raise BusyError(f"{build}: a dry-run is at work in this folder. Wait for its end") from None


def refuse_linked(place: Place, repository: Path) -> None:
    """Refuse what lies in the repository only by a link.

    Raises
    ------
    SettingsError
        The folder that holds it is a link.
    """
    for path in place.paths:
        for above in path.parents:
            if above.is_relative_to(repository) and above != repository and above.is_symlink():
                raise SettingsError(
                    f"{above}: it is a link to {above.resolve()}. Remove {path.name} there by hand"
                )


def remove(paths: Iterable[Path]) -> None:
    """Remove files and folders. Of a link, only the link goes.

    Raises
    ------
    OutputError
        Something cannot be removed. It says what.
    """
    for path in paths:
        try:
            if path.is_symlink() or not path.is_dir():
                path.unlink(missing_ok=True)
            else:
                _make_removable(path)
                shutil.rmtree(path)
        except FileNotFoundError:  # somebody else was faster
            continue
        except OSError as error:
            raise OutputError(
                f"{error.filename or path}: it cannot be removed ({error.strerror}). Close what "
                "uses it, or remove it by hand"
            ) from None


def _make_removable(folder: Path) -> None:
    """Let the owner write to each folder: those of read-only mounts and caches are not writable."""
    for place, _, _ in os.walk(folder):
        mode = os.lstat(place).st_mode
        if not mode & stat.S_IWUSR:
            Path(place).chmod(mode | stat.S_IRWXU)
