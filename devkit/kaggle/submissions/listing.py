"""Submissions as Kaggle lists them: which there are, their scores, and how many are left today."""

from dataclasses import dataclass
from typing import Any, Literal

from kagglesdk.competitions.types.competition_api_service import (
    ApiGetSubmissionRequest,
    ApiListSubmissionsRequest,
)

from devkit.kaggle.service.answers import AccountLimits, ScoredSubmission, SubmissionPage
from devkit.kaggle.service.client import Client

__all__ = ["ListedSubmission", "list_submissions", "look_up", "submissions_left"]

# submissions per page of the list, and pages at most
_PAGE, _PAGES = 100, 20


@dataclass(frozen=True, slots=True)
class ListedSubmission:
    """A submission as Kaggle lists it.

    Attributes
    ----------
    ref : int
        Kaggle's number for it.
    date : str
        When it was submitted, in UTC.
    file : str
        The name of the file.
    description : str
        The message, and the tag in brackets.
    status : {"PENDING", "COMPLETE", "ERROR"}
        How far the scoring is.
    public_score : str
        The score as Kaggle shows it. Empty while there is none.
    error : str
        Why it could not be scored.
    """

    ref: int
    date: str
    file: str
    description: str
    status: Literal["PENDING", "COMPLETE", "ERROR"]
    public_score: str
    error: str


def list_submissions(client: Client, competition: str) -> list[ListedSubmission]:
    """List all submissions of the team, the newest first."""

    def fetch(api: Any) -> list[ListedSubmission]:
        # the client's own competition_submissions keeps the next page's token to itself
        request = ApiListSubmissionsRequest()
        request.competition_name, request.page_size, request.page = competition, _PAGE, 1
        found: list[ListedSubmission] = []
        with api.build_kaggle_client() as kaggle:
            for _ in range(_PAGES):
                answer = SubmissionPage.of(
                    kaggle.competitions.competition_api_client.list_submissions(request)
                )
                found += map(_listed, answer.submissions)
                if not answer.next_page_token:
                    break
                request.page_token = answer.next_page_token
        return found

    return client.ask(f"list the submissions to {competition}", fetch)


def look_up(client: Client, ref: int) -> ListedSubmission:
    """Look up one submission by Kaggle's number for it."""

    def fetch(api: Any) -> ListedSubmission:
        request = ApiGetSubmissionRequest()
        request.ref = ref
        with api.build_kaggle_client() as kaggle:
            answer = kaggle.competitions.competition_api_client.get_submission(request)
            return _listed(ScoredSubmission.of(answer))

    return client.ask(f"look up the submission {ref}", fetch)


def submissions_left(client: Client, competition: str) -> int | None:
    """How many submissions are left today. None if Kaggle does not say, as before the first."""
    limits = client.find(
        f"ask for the submission limits of {competition}",
        lambda api: AccountLimits.of(api.competition_get_submission_limits(competition)),
    )
    # all are zero before the first submission, which makes the team
    if limits is None or not (limits.num_allowed_now or limits.num_today or limits.num_total):
        return None
    return max(limits.num_allowed_now, 0)


def _listed(submission: ScoredSubmission) -> ListedSubmission:
    return ListedSubmission(
        ref=submission.ref,
        date=f"{submission.date:%Y-%m-%d %H:%M}" if submission.date else "",
        file=submission.file_name,
        description=submission.description,
        status=submission.status,
        public_score=submission.public_score,
        error=submission.error_description,
    )
