"""`training_alone`: no two trainings write to one run folder at the same time."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from kernelkit.errors import TrainingError
from kernelkit.training.fold_folder import writing

__all__ = ["training_alone"]


@contextmanager
def training_alone(run_folders: Iterable[Path]) -> Iterator[None]:
    """Be the only training of these run folders in this block.

    The lock of `<output>/<run>` is the file `<output>/.<run>.lock`, so run folders hold no trace of
    it. It is free again once this process has ended, however it ends.

    Raises
    ------
    TrainingError
        Another training has one of them.
    OutputError
        The output cannot be written to.
    """
    with ExitStack() as held:
        for folder in run_folders:
            lock = FileLock(folder.with_name(f".{folder.name}.lock"), timeout=0)
            with writing(folder.parent):
                folder.parent.mkdir(parents=True, exist_ok=True)
                try:
                    held.enter_context(lock)
                except Timeout:
                    raise TrainingError(
                        f"{folder}: another training writes to this run. Wait until it has ended, "
                        "or choose another output"
                    ) from None
        yield
