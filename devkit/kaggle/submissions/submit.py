"""What is submitted: the output of a notebook, or CSV files as many as the day allows."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from devkit.errors import KaggleError
from devkit.kaggle.notebook.kernel import Pushed
from devkit.kaggle.service.answers import SubmissionAnswer
from devkit.kaggle.service.client import Client
from devkit.kaggle.submissions.account import check_competition
from devkit.kaggle.submissions.check import SubmissionCheck
from devkit.kaggle.submissions.ledger import Entry, Ledger, make_tag
from devkit.kaggle.submissions.listing import list_submissions
from devkit.kaggle.submissions.sending import (
    free_tag,
    may_submit,
    must_be_sent,
    send_once,
    wait_for_score,
    with_tag,
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
        tag=free_tag(client, parts, again),
        weights=weights_beside(fetched),
    )

    def send(api: Any) -> SubmissionAnswer:
        answer = api.competition_submit_code(
            file, entry.description, competition, pushed.ref, pushed.number, quiet=True
        )
        return SubmissionAnswer.of(answer)

    return wait_for_score(client, send_once(client, entry, send))


def was_submitted(client: Client, pushed: Pushed) -> bool:
    """Whether this version of the kernel was submitted before, as the ledger or Kaggle knows."""
    tag = make_tag(client.settings.competition, pushed.ref, pushed.number)
    known = Ledger(client.settings.ledger).find(tag)
    if known is not None and known.status != "sending":
        return True
    return with_tag(list_submissions(client, client.settings.competition), tag) is not None


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
        if left or (must_be_sent(client, entry) and not may_submit(client, entry.competition)):
            left.append(path)
            continue
        sent.append(send_once(client, entry, _sender(path, entry)))
    scored, problems = [], []
    for entry in sent:
        try:
            scored.append(wait_for_score(client, entry))
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
        tag=free_tag(client, (competition, sha256), again),
        weights=weights_beside(path),
    )


def _sender(path: Path, entry: Entry) -> Callable[[Any], SubmissionAnswer]:
    def send(api: Any) -> SubmissionAnswer:
        description, competition = entry.description, entry.competition
        return SubmissionAnswer.of(
            api.competition_submit(str(path), description, competition, quiet=True)
        )

    return send
