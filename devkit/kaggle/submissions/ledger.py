"""The ledger: what was submitted, from what, with what score. Lines are only ever appended.

A submission gets a line before it is sent (`sending`) and one when its end is known (`scored` or
`failed`). The last line of a tag counts. If `sending` is the last line, the command was cut off.
Then Kaggle's list of submissions tells whether it arrived: the tag is part of the description
there. Each line is an `Entry` in JSON.
"""

import contextlib
import datetime
import fcntl
import hashlib
import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from devkit.errors import LedgerError
from devkit.kaggle.outputs import writing

__all__ = ["Entry", "Ledger", "make_tag"]


class Entry(BaseModel):
    """A line of the ledger.

    Attributes
    ----------
    time : datetime or None
        When the line was written, in UTC. None before it is.
    competition : str
        The slug of the competition.
    kernel : str
        The notebook on Kaggle, `owner/slug`. Empty for a file from home.
    version : int
        The version of the notebook. 0 for a file from home.
    file : str
        The name of the file, there or at home.
    fingerprint : str
        The fingerprint of the kernel dataset, or the start of the file's hash.
    message : str
        The user's words about it.
    tag : str
        The name that tells this submission from all others, here and in Kaggle's list.
    ref : int
        Kaggle's number for it. 0 if it is not known.
    status : {"sending", "scored", "failed"}
        How far it came.
    public_score : str
        The score as Kaggle shows it.
    error : str
        Why it could not be scored.
    weights : dict
        The hashes of the weights that it was made with, by the names of the members. Empty if no
        report says them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    time: datetime.datetime | None = None
    competition: str
    kernel: str = ""
    version: int = 0
    file: str
    fingerprint: str
    message: str
    tag: str
    ref: int = 0
    status: Literal["sending", "scored", "failed"] = "sending"
    public_score: str = ""
    error: str = ""
    weights: dict[str, str] = {}

    @property
    def description(self) -> str:
        """The description on Kaggle: the message, and the tag to recognise it."""
        return f"{self.message} [{self.tag}]".strip()


class Ledger:
    """The entries in a file.

    Parameters
    ----------
    path
        The file. It need not exist yet.

    Attributes
    ----------
    path : Path
        As given.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self) -> list[Entry]:
        """Read the last entry of each tag, in the order of their first entries.

        A last line that was cut off while it was written does not count. Nothing was sent then.

        Raises
        ------
        LedgerError
            The file cannot be read, or a line is not an entry.
        """
        found: dict[str, Entry] = {}
        for number, line in enumerate(self._whole_lines(), 1):
            if line.strip():
                entry = self._read(line, number)
                found[entry.tag] = entry
        return list(found.values())

    def prove_writable(self) -> None:
        """Find out now whether an entry could be read and written later.

        Raises
        ------
        LedgerError
            The ledger cannot be read.
        OutputError
            The ledger cannot be written.
        """
        self.entries()
        with writing(self.path, "ledger"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab"):
                pass

    def find(self, tag: str) -> Entry | None:
        """Find the last entry of a tag."""
        return next((entry for entry in self.entries() if entry.tag == tag), None)

    def append(self, entry: Entry) -> Entry:
        """Write an entry, with the time. It is on the disk when this returns.

        Returns
        -------
        The entry as it was written.

        Raises
        ------
        OutputError
            The ledger cannot be written.
        """
        now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
        entry = entry.model_copy(update={"time": now})
        with writing(self.path, "ledger"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                fcntl.flock(file, fcntl.LOCK_EX)  # another command may write, too
                kept = sum(len(line) + 1 for line in self._whole_lines())
                size = file.seek(0, os.SEEK_END)
                if kept < size:  # a line was cut off
                    file.truncate(kept)
                begin = b"\n" if kept > size else b""  # the last line had no end
                file.write(begin + entry.model_dump_json().encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        return entry

    def _whole_lines(self) -> list[bytes]:
        """The lines of the file, without a last one that was cut off while it was written."""
        if not self.path.exists():
            return []
        if not self.path.is_file():
            raise LedgerError(
                f"{self.path}: it is not a file. Move it away, or set ledger in kaggle.toml to "
                "another place"
            )
        try:
            *lines, last = self.path.read_bytes().split(b"\n")
        except OSError as error:
            raise LedgerError(
                f"{self.path}: it cannot be read ({error.strerror}). Make it readable"
            ) from None
        with contextlib.suppress(ValidationError):
            Entry.model_validate_json(last)
            lines.append(last)
        return lines

    def _read(self, line: bytes, number: int) -> Entry:
        try:
            return Entry.model_validate_json(line)
        except ValidationError:
            raise LedgerError(
                f"{self.path}: line {number} is not an entry of the ledger. Correct or remove it"
            ) from None


def make_tag(*parts: str | int) -> str:
    """Make a short name for a submission. The same parts make the same name."""
    text = "\n".join(map(str, parts))
    return f"kk-{hashlib.sha256(text.encode()).hexdigest()[:10]}"
