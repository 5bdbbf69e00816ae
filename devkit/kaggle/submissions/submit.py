"""Submit once, whatever is interrupted on the way, and wait for the score.

The same command again finds what was submitted by its tag. The tag is in the ledger, and in the
description in Kaggle's list. Kaggle's list decides. A lost answer does not mean that nothing was
submitted. A friendly answer does not mean that something was.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from devkit.bars import waiting
from devkit.errors import KaggleError
from devkit.kaggle.notebook.kernel import Pushed
from devkit.kaggle.service.answers import SubmissionAnswer
from devkit.kaggle.service.client import Client
from devkit.kaggle.service.endings import explain_ending
from devkit.kaggle.service.waiting import wait_for
from devkit.kaggle.submissions.account import check_competition
from devkit.kaggle.submissions.check import SubmissionCheck
from devkit.kaggle.submissions.ledger import Entry, Ledger, make_tag
from devkit.kaggle.submissions.listing import (
    ListedSubmission,
    list_submissions,
    look_up,
    submissions_left,
)
from devkit.kaggle.submissions.weights import weights_beside
from kernelkit.errors import SubmissionError
from kernelkit.files import file_sha256

__all__ = ["submit_files", "submit_kernel", "was_submitted"]


def submit_kernel(client: Client, pushed: Pushed, message: str, *, again: bool = False) -> Entry:
    """Submit the output of a kernel version that is complete, and wait for its score.

    Parameters
    ----------
    client
        The client, signed in.
    pushed
        The version.
    message
        The user's words about it.
    again
        Submit it once more if it was submitted before and has its score, or could not be scored.

    Returns
    -------
    The entry in the ledger, with the score.

    Raises
    ------
    KaggleError
        Kaggle refused it, no submission is left today, or it could not be scored.
    """
    competition = client.settings.competition
    file = client.settings.loaded_recipe.competition.submission_name
    fetched = client.settings.output_folder / f"v{pushed.number}" / file
    parts = (competition, pushed.ref, pushed.number)
    entry = Entry(
        competition=competition,
        kernel=pushed.ref,
        version=pushed.number,
        file=file,
        fingerprint=pushed.fingerprint,
        message=message,
        tag=_tag(client, parts, again),
        weights=weights_beside(fetched),
    )

    def send(api: Any) -> SubmissionAnswer:
        answer = api.competition_submit_code(
            file, entry.description, competition, pushed.ref, pushed.number, quiet=True
        )
        return SubmissionAnswer.of(answer)

    return _wait_for_score(client, _send_once(client, entry, send))


def was_submitted(client: Client, pushed: Pushed) -> bool:
    """Whether this version of the kernel was submitted before, as the ledger or Kaggle knows."""
    tag = make_tag(client.settings.competition, pushed.ref, pushed.number)
    known = Ledger(client.settings.ledger).find(tag)
    if known is not None and known.status != "sending":
        return True
    return _with_tag(list_submissions(client, client.settings.competition), tag) is not None


def submit_files(
    client: Client, files: Sequence[Path], message: str, *, again: bool = False
) -> list[Entry]:
    """Submit CSV files in the order given, as many as the day allows, and wait for the scores.

    Parameters
    ----------
    client
        The client, signed in.
    files
        The files.
    message
        The user's words about them. Empty means the name of each file.
    again
        Submit a file once more if it was submitted before and has its score, or could not be
        scored.

    Returns
    -------
    The entries in the ledger, with the scores.

    Raises
    ------
    SubmissionError
        A file is missing, or the competition would refuse it. Nothing was submitted then.
    KaggleError
        A file was refused or could not be scored, or more files were given than the day allows.
        The error names those that are left. The same command goes on with them tomorrow.
    """
    if missing := [path for path in files if not path.is_file()]:
        raise SubmissionError(f"{missing[0]}: there is no such file. Nothing was submitted")
    Ledger(client.settings.ledger).prove_writable()
    check_competition(client)
    check = SubmissionCheck(client)
    for path in files:
        try:
            client.say(f"{path}: checked, {check.rows(path)} rows")
        except SubmissionError as error:
            raise SubmissionError(f"{error}. Nothing was submitted") from None
    sent: list[Entry] = []
    left: list[Path] = []
    for path in files:
        entry = _file_entry(client, path, message, again)
        if left or (_must_be_sent(client, entry) and not _may_submit(client, entry.competition)):
            left.append(path)
            continue
        sent.append(_send_once(client, entry, _sender(path, entry)))
    scored, problems = [], []
    for entry in sent:
        try:
            scored.append(_wait_for_score(client, entry))
        except KaggleError as error:
            problems.append(str(error))
    if left:
        problems.append(
            f"the day's submissions are used up, and {len(left)} of {len(files)} files are left "
            f"({', '.join(path.name for path in left)}). Run the same command again after 00:00 UTC"
        )
    if problems:
        first, *others = problems
        raise KaggleError(". ".join([first, *(text[0].upper() + text[1:] for text in others)]))
    return scored


def _file_entry(client: Client, path: Path, message: str, again: bool) -> Entry:
    sha256 = file_sha256(path)
    competition = client.settings.competition
    return Entry(
        competition=competition,
        file=path.name,
        fingerprint=sha256[:16],
        message=message or path.stem,
        tag=_tag(client, (competition, sha256), again),
        weights=weights_beside(path),
    )


def _sender(path: Path, entry: Entry) -> Callable[[Any], SubmissionAnswer]:
    def send(api: Any) -> SubmissionAnswer:
        description, competition = entry.description, entry.competition
        return SubmissionAnswer.of(
            api.competition_submit(str(path), description, competition, quiet=True)
        )

    return send


def _tag(client: Client, parts: tuple[str | int, ...], again: bool) -> str:
    """The tag that these parts make. With `again`, the first such tag that has no end yet."""
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
    known, there = ledger.find(tag), _with_tag(listed, tag)
    return (known is not None and known.status != "sending") or (
        there is not None and there.status != "PENDING"
    )


def _must_be_sent(client: Client, entry: Entry) -> bool:
    known = Ledger(client.settings.ledger).find(entry.tag)
    return (known is None or known.status == "sending") and _find(client, entry) is None


def _may_submit(client: Client, competition: str) -> bool:
    return submissions_left(client, competition) != 0


def _send_once(client: Client, entry: Entry, send: Callable[[Any], SubmissionAnswer]) -> Entry:
    """Send it unless it was sent before, and return the entry with Kaggle's number for it."""
    ledger = Ledger(client.settings.ledger)
    known = ledger.find(entry.tag)
    if known is not None and known.status != "sending":
        client.say(f"{_name(known)} was submitted before, as {known.ref}")
        return known
    if (listed := _find_after_sending(client, entry, known)) is not None:
        client.say(f"{_name(entry)} was submitted before, as {listed.ref}")
        return entry.model_copy(update={"ref": listed.ref})
    if not _may_submit(client, entry.competition):
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
    while listed is None and time.time() < begun + client.settings.settle_seconds:
        time.sleep(min(client.settings.poll_seconds, client.settings.settle_seconds))
        listed = _find(client, entry)
    return listed


def _wait_for_score(client: Client, entry: Entry) -> Entry:
    """Wait until it is scored, and note that in the ledger.

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
    return _with_tag(listed, entry.tag) or next(by_ref, None)


def _with_tag(listed: list[ListedSubmission], tag: str) -> ListedSubmission | None:
    return next((item for item in listed if f"[{tag}]" in item.description), None)


def _name(entry: Entry) -> str:
    return f"{entry.kernel} version {entry.version}" if entry.kernel else entry.file
