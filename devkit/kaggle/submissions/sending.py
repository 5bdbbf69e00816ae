"""Send a submission once, whatever is interrupted on the way, and wait for its score.

The same command again finds what was submitted by its tag. The tag is in the ledger, and in the
description in Kaggle's list. Kaggle's list decides. A lost answer does not mean that nothing was
submitted. A friendly answer does not mean that something was.
"""

import time
from collections.abc import Callable
from typing import Any

from devkit.bars import waiting
from devkit.errors import KaggleError
from devkit.kaggle.service.answers import SubmissionAnswer
from devkit.kaggle.service.client import Client
from devkit.kaggle.service.endings import explain_ending
from devkit.kaggle.service.turns import turn
from devkit.kaggle.service.waiting import wait_for
from devkit.kaggle.submissions.ledger import Entry, Ledger, make_tag
from devkit.kaggle.submissions.listing import (
    ListedSubmission,
    list_submissions,
    look_up,
    submissions_left,
)

__all__ = ["free_tag", "may_submit", "must_be_sent", "send_once", "wait_for_score", "with_tag"]


def free_tag(client: Client, parts: tuple[str | int, ...], again: bool) -> str:
    """Return the tag of a submission.

    Parameters
    ----------
    client
        The client, signed in.
    parts
        What tells it from others.
    again
        Return the first such tag that has no end yet.
    """
    tag = make_tag(*parts)
    if not again:
        return tag
    ledger = Ledger(client.settings.ledger)
    listed = list_submissions(client, client.settings.competition)
    number = 1
    while _has_ended(tag, ledger, listed):
        number += 1
        tag = make_tag(*parts, number)
    return tag


def _has_ended(tag: str, ledger: Ledger, listed: list[ListedSubmission]) -> bool:
    known, there = ledger.find(tag), with_tag(listed, tag)
    return (known is not None and known.status != "sending") or (
        there is not None and there.status != "PENDING"
    )


def must_be_sent(client: Client, entry: Entry) -> bool:
    """Whether neither the ledger nor Kaggle knows that an entry was submitted."""
    known = Ledger(client.settings.ledger).find(entry.tag)
    return (known is None or known.status == "sending") and _find(client, entry) is None


def may_submit(client: Client, competition: str) -> bool:
    """Whether a submission to a competition is left today, as far as Kaggle says."""
    return submissions_left(client, competition) != 0


def send_once(client: Client, entry: Entry, send: Callable[[Any], SubmissionAnswer]) -> Entry:
    """Send a submission unless it was sent before.

    Parameters
    ----------
    client
        The client, signed in.
    entry
        The submission.
    send
        Sends it.

    Returns
    -------
    The entry, with Kaggle's number for it.

    Raises
    ------
    KaggleError
        Kaggle refused it, does not list it, or takes no more today.
    """
    with turn(client, f"the submission of {_name(entry)}"):
        return _send_once(client, entry, send)


def _send_once(client: Client, entry: Entry, send: Callable[[Any], SubmissionAnswer]) -> Entry:
    ledger = Ledger(client.settings.ledger)
    known = ledger.find(entry.tag)
    if known is not None and known.status != "sending":
        client.say(f"{_name(known)} was submitted before, as {known.ref}")
        return known
    if (listed := _find_after_sending(client, entry, known)) is not None:
        client.say(f"{_name(entry)} was submitted before, as {listed.ref}")
        return entry.model_copy(update={"ref": listed.ref})
    if not may_submit(client, entry.competition):
        raise KaggleError(
            f"{entry.competition} takes no more submissions today, so {_name(entry)} was not "
            "submitted. Run the same command again after 00:00 UTC"
        )
    entry = ledger.append(entry)
    doing = f"submit {_name(entry)} to {entry.competition}"
    try:
        answer = client.do(doing, send, client.settings.upload_seconds)
    except KaggleError:
        # the submission may have arrived, although the answer was lost
        if (listed := _find(client, entry)) is None:
            raise
        return entry.model_copy(update={"ref": listed.ref})
    if "could not" in answer.message.lower():
        raise client.refusal(doing, f"{answer.message}: its upload failed")
    # Kaggle was seen to say "successfully" after the day's limit was reached
    settings = client.settings
    listed = wait_for(
        f"{_name(entry)} to appear in Kaggle's list of submissions (it said {answer.message!r})",
        lambda: _find(client, entry, answer.ref),
        seconds=settings.settle_seconds,
        every=min(settings.poll_seconds, settings.settle_seconds),
        go_on=(
            "Look at the competition's page. If it is not there, the same command sends it again"
        ),
    )
    client.say(f"{_name(entry)} is submitted, as {listed.ref}")
    return entry.model_copy(update={"ref": listed.ref})


def _find_after_sending(
    client: Client, entry: Entry, known: Entry | None
) -> ListedSubmission | None:
    """Look it up in Kaggle's list, and wait for it if it may have been sent just now."""
    listed = _find(client, entry)
    if known is None:
        return listed
    begun = known.time.timestamp() if known.time else 0
    begun = min(begun, time.time())  # a wrong clock may have written it
    while listed is None and time.time() < begun + client.settings.settle_seconds:
        time.sleep(min(client.settings.poll_seconds, client.settings.settle_seconds))
        listed = _find(client, entry)
    return listed


def wait_for_score(client: Client, entry: Entry) -> Entry:
    """Wait until a submission is scored, and note that in the ledger.

    Parameters
    ----------
    client
        The client, signed in.
    entry
        The submission.

    Returns
    -------
    The entry, with the score.

    Raises
    ------
    KaggleError
        It could not be scored, or that took too long.
    """
    settings = client.settings
    if entry.status == "sending":

        def ended() -> ListedSubmission | None:
            listed = look_up(client, entry.ref)
            return listed if listed.status != "PENDING" else None

        with waiting(f"Kaggle scores {_name(entry)}"):
            listed = wait_for(
                f"the score of {_name(entry)}",
                ended,
                seconds=settings.score_seconds,
                every=settings.poll_seconds,
            )
        found = {
            "status": "scored" if listed.status == "COMPLETE" else "failed",
            "public_score": listed.public_score,
            "error": listed.error,
        }
        entry = Ledger(settings.ledger).append(entry.model_copy(update=found))
    if entry.status == "failed":
        means = explain_ending(settings, entry.error)
        raise KaggleError(
            f"Kaggle could not score {_name(entry)} ({entry.error or 'it gives no reason'}). "
            f"{means or 'Correct it'}, or submit it once more with AGAIN=1"
        )
    client.say(f"{_name(entry)}: public score {entry.public_score or 'not shown'}")
    return entry


def _find(client: Client, entry: Entry, ref: int = 0) -> ListedSubmission | None:
    listed = list_submissions(client, entry.competition)
    by_ref = (submission for submission in listed if ref and submission.ref == ref)
    return with_tag(listed, entry.tag) or next(by_ref, None)


def with_tag(listed: list[ListedSubmission], tag: str) -> ListedSubmission | None:
    """Find the submission of a tag in Kaggle's list."""
    return next((item for item in listed if f"[{tag}]" in item.description), None)


def _name(entry: Entry) -> str:
    return f"{entry.kernel} version {entry.version}" if entry.kernel else entry.file
