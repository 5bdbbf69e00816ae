"""The ledger: what was submitted, from what, with what score. JSON lines, only ever appended to.

A submission gets a line before it is sent (`sending`) and one when its end is known (`scored` or
`failed`). The last line of a tag counts. A `sending` that no other line follows is one
whose sending was cut off: whether Kaggle has it, its list of submissions tells, since the tag is
part of the description there.
"""

import datetime
import hashlib
import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from devkit.errors import ToolError

__all__ = ["Entry", "Ledger", "make_tag"]


class Entry(BaseModel):
    """A line of the ledger.

    Attributes
    ----------
    time
        When the line was written, in UTC.
    competition, message
        What was submitted to, and as what.
    kernel, version
        Of a notebook's output; empty and 0 for a file from home.
    file
        Its name, there or at home.
    fingerprint
        Of the kernel dataset, or of the file.
    tag
        Tells this submission from all others, here and in Kaggle's list.
    ref, public_score
        As Kaggle names and scores it.
    status, error
        `sending`, then one of the others; why it failed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    time: str = ""
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

    @property
    def description(self) -> str:
        """What Kaggle is told: the message, and the tag to know it by."""
        return f"{self.message} [{self.tag}]".strip()


class Ledger:
    """The entries in the file `path`, which need not exist yet."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self) -> list[Entry]:
        """The last entry of each tag, in the order in which they were begun.

        Raises
        ------
        ToolError
            A line that is not an entry.
        """
        found: dict[str, Entry] = {}
        if self.path.is_file():
            lines = self.path.read_text(encoding="utf-8").splitlines()
            for number, line in enumerate(lines, 1):
                if line.strip():
                    entry = self._read(line, number)
                    found[entry.tag] = entry
        return list(found.values())

    def find(self, tag: str) -> Entry | None:
        """The last entry of a tag."""
        return next((entry for entry in self.entries() if entry.tag == tag), None)

    def append(self, entry: Entry) -> Entry:
        """Write an entry, with the time; it is on the disk when this returns."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        entry = entry.model_copy(update={"time": now})
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{entry.model_dump_json()}\n")
            file.flush()
            os.fsync(file.fileno())
        return entry

    def _read(self, line: str, number: int) -> Entry:
        try:
            return Entry.model_validate_json(line)
        except ValidationError:
            raise ToolError(
                f"{self.path}: line {number} is not an entry of the ledger; correct or remove it"
            ) from None


def make_tag(*parts: str | int) -> str:
    """A short name for a submission, the same whenever it is made of the same parts."""
    text = "\n".join(map(str, parts))
    return f"kk-{hashlib.sha256(text.encode()).hexdigest()[:10]}"
