"""Kaggle's list of submissions beside the ledger, as lines for people and as JSON for programs."""

from collections.abc import Iterator, Sequence
from typing import Any

from devkit.kaggle.submissions.ledger import Entry
from devkit.kaggle.submissions.listing import ListedSubmission
from devkit.tables import aligned

__all__ = ["as_json", "lines_of"]


def lines_of(
    competition: str, listed: Sequence[ListedSubmission], entries: Sequence[Entry]
) -> Iterator[str]:
    """The submissions as a table, the newest first, and those that only the ledger knows."""
    if not listed:
        yield f"nothing was submitted to {competition} yet"
    rows = [["date", "score", "ref", "from", "dataset", "message"]]
    own = _by_ref(entries)
    for item in listed:
        entry = own.get(item.ref)
        origin = f"{entry.kernel} v{entry.version}" if entry and entry.kernel else item.file
        known = entry.fingerprint[:12] if entry else "not in the ledger"
        score = item.public_score or item.status.lower()
        message = " ".join(item.description.split())
        rows.append([item.date, score, str(item.ref), origin, known, message])
    if listed:
        yield from aligned(rows)
    for item in listed:
        if item.error:
            yield f"{item.ref} has no score: {item.error}"
    for entry in _gone(competition, listed, entries):
        yield f"only in the ledger: {entry.ref}  {entry.message}  {entry.public_score}"


def as_json(
    competition: str, listed: Sequence[ListedSubmission], entries: Sequence[Entry]
) -> dict[str, Any]:
    """What `make submissions JSON=1` prints. docs/on-kaggle.md explains the keys."""
    own = _by_ref(entries)
    return {
        "competition": competition,
        "submissions": [
            {
                "ref": item.ref,
                "date": item.date,
                "file": item.file,
                "description": item.description,
                "status": item.status,
                "public_score": item.public_score,
                "error": item.error,
                "ledger": _content(own.get(item.ref)),
            }
            for item in listed
        ],
        "only_in_ledger": [_content(entry) for entry in _gone(competition, listed, entries)],
    }


def _by_ref(entries: Sequence[Entry]) -> dict[int, Entry]:
    return {entry.ref: entry for entry in entries if entry.ref}


def _gone(
    competition: str, listed: Sequence[ListedSubmission], entries: Sequence[Entry]
) -> list[Entry]:
    """The entries that Kaggle does not list."""
    there = {item.ref for item in listed}
    here = (entry for entry in entries if entry.competition == competition)
    return [entry for entry in here if entry.ref and entry.ref not in there]


def _content(entry: Entry | None) -> dict[str, Any] | None:
    return None if entry is None else entry.model_dump(mode="json")
