"""What images hold: the hash of their files. A file that has not changed is hashed once."""

import json
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

from kernelkit.files import open_atomically
from kernelkit.slide.content import FileState, content_of, state_of
from kernelkit.training.fold_folder import writing

__all__ = ["Contents"]

_NAME = "contents.json"


class Contents(AbstractContextManager):
    """The contents of images, hashed by a thread while others are decoded.

    A hash of 100 GB takes minutes, so it is kept. It counts as long as size, time and inode of the
    files stay: they lie on the user's own disk.

    Parameters
    ----------
    folder
        Where the hashes are kept.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / _NAME
        self._known = self._read()
        self._new: dict[str, str] = {}
        self._thread = ThreadPoolExecutor(1)

    def of(self, paths: Sequence[Path]) -> "Future[str]":
        """The content of an image's files.

        The future raises OSError if a file cannot be read.
        """
        return self._thread.submit(self._content, tuple(paths))

    def _content(self, paths: tuple[Path, ...]) -> str:
        state = _as_text(state_of(paths))
        if state not in self._known:
            self._known[state] = content_of(paths)
        self._new[state] = self._known[state]
        return self._new[state]

    def keep(self) -> None:
        """Write down what was asked for.

        Raises
        ------
        OutputError
            It cannot be written.
        """
        with writing(self._path), open_atomically(self._path) as file:
            json.dump(self._known | self._new, file, indent=0, sort_keys=True)

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _read(self) -> dict[str, str]:
        try:
            found = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


def _as_text(state: FileState) -> str:
    return " ".join(",".join(map(str, each)) for each in state)
