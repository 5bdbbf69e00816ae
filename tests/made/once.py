"""What is dear to make is made once per run, by the first worker that asks for it."""

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

# A worker waits this long for another one's work. A test ends after 300 s.
_WAIT_SECONDS = 280


def made_once[T](
    factory: pytest.TempPathFactory, name: str, make: Callable[[Path], T]
) -> tuple[Path, T]:
    """Make a folder for all workers of this run. Tests read it, and never write into it.

    Parameters
    ----------
    factory
        Pytest's factory of temporary folders.
    name
        Name of the folder, which no other fixture uses.
    make
        Fills the empty folder. What it returns is pickled for the other workers.

    Returns
    -------
    tuple of Path and object
        The folder, and what `make` returned in the worker that called it.
    """
    shared_folder = _of_this_run(factory) / "made-once"
    shared_folder.mkdir(exist_ok=True)
    folder, returned = shared_folder / name, shared_folder / f"{name}.pickle"
    with FileLock(shared_folder / f"{name}.lock", timeout=_WAIT_SECONDS):
        if not returned.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            unfinished = returned.with_suffix(".part")
            unfinished.write_bytes(pickle.dumps(make(folder)))
            unfinished.replace(returned)
    return folder, pickle.loads(returned.read_bytes())


def _of_this_run(factory: pytest.TempPathFactory) -> Path:
    """The temporary folder of the whole run. Each worker of xdist has a folder below it."""
    own = factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
