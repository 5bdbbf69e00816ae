"""What a fold leaves on disk: checkpoints, the file to resume from, and what became of it.

    fold_<i>/models/e<epoch>_t<epochs>_cmax_<val|ema>_<score>.pth   the best so far
    fold_<i>/models/e<epoch>_t<epochs>_last.pth                     the last weights
    fold_<i>/models/e<epoch>_t<epochs>_snapshot_<score>.pth         those before a restart
    fold_<i>/logs/                                                  for TensorBoard
    fold_<i>/resume.ckpt                                            while it is trained
    fold_<i>/fold.json                                              what was asked, what came of it

Each file is complete or absent. Equal content has equal bytes.
"""

import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kernelkit.errors import OutputError
from kernelkit.files import open_atomically, replace_atomically

__all__ = ["FoldFiles"]


@dataclass(frozen=True)
class FoldFiles:
    """The files of one fold.

    Attributes
    ----------
    folder
        The fold's folder, `<run>/fold_<i>`.
    """

    folder: Path

    @property
    def models(self) -> Path:
        """The folder of the checkpoints."""
        return self.folder / "models"

    @property
    def resume(self) -> Path:
        """The file from which a training goes on that was killed."""
        return self.folder / "resume.ckpt"

    @property
    def record(self) -> Path:
        """The file that says what was asked for, and what came of it."""
        return self.folder / "fold.json"

    @property
    def has_weights(self) -> bool:
        """Whether there is a checkpoint, or a whole epoch to go on after."""
        return self.resume.exists() or any(self.models.glob("*"))

    def begin(self, asked: Mapping[str, Any]) -> None:
        """Make the folder, without what another training left there. Write down what is asked for.

        Raises
        ------
        OutputError
            The folder cannot be written to.
        """
        try:
            self.forget()
            self.models.mkdir(parents=True)
            self._write_record({"asked": asked, "result": None})
        except OSError as error:
            raise OutputError(
                f"{self.folder}: the folder cannot be written to ({error.strerror}). Choose "
                "another output folder, or make room"
            ) from error

    def forget(self) -> None:
        """Remove the whole fold."""
        if self.folder.is_dir():
            shutil.rmtree(self.folder)

    def finish(self, asked: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        """Write down what came of the training. Nothing is left to resume."""
        with self._explaining(self.record):
            self._write_record({"asked": asked, "result": result})
        self.resume.unlink(missing_ok=True)

    def keep_only(self, names: Sequence[str]) -> None:
        """Remove checkpoints that were written after the file to resume from."""
        for path in self.models.glob("*.pth"):
            if path.name not in names:
                path.unlink()

    def read_record(self) -> dict[str, Any] | None:
        """What `begin` and `finish` wrote, or None if there is nothing that can be read."""
        try:
            record = json.loads(self.record.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return record if isinstance(record, dict) and {"asked", "result"} <= set(record) else None

    def save(self, path: Path, content: Mapping[str, Any]) -> None:
        """Write what `torch.load` reads. The file that lay there stays until this one is complete.

        Raises
        ------
        OutputError
            The disk is full, or the folder cannot be written to.
        """
        # of a path torch would take the name, and the bytes would depend on it
        with (
            self._explaining(path),
            replace_atomically(path) as unfinished,
            unfinished.open("wb") as file,
        ):
            torch.save(_plain(content), file)

    def _write_record(self, record: Mapping[str, Any]) -> None:
        with open_atomically(self.record) as file:
            json.dump(record, file, indent=1)

    @contextmanager
    def _explaining(self, path: Path) -> Iterator[None]:
        """What goes wrong with a file in the block becomes a sentence about it."""
        try:
            yield
        except (OSError, RuntimeError) as error:  # torch wraps what a file raises
            cause = error if isinstance(error, OSError) else error.__context__
            reason = getattr(cause, "strerror", None) or str(error).split("\n")[0].rstrip(".")
            good = sorted(path.name for path in self.models.glob("*.pth"))
            kept = f"What was written before stays: {', '.join(good)}. " if good else ""
            raise OutputError(
                f"{path}: it cannot be written ({reason}). {kept}Make room and start again. The "
                "training then goes on after its last whole epoch"
            ) from error


def _plain(value: Any) -> Any:
    """The same of plain containers, with each text once and tensors on the CPU.

    Python writes a reference if it meets an object again. So equal values can have other bytes,
    after they were read from a file for example.
    """
    if isinstance(value, Mapping):
        return {_plain(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(each) for each in value)
    if isinstance(value, str):
        return sys.intern(str(value))
    if isinstance(value, Tensor):
        return value.detach().cpu()
    return value
