"""Submissions as Kaggle knows them: which are listed, how they scored, how many are left today."""

from dataclasses import dataclass
from typing import Any, Literal

from kagglesdk.competitions.types.competition_api_service import (
    ApiGetSubmissionRequest,
    ApiListSubmissionsRequest,
)

from devkit.kaggle.service.client import Client

__all__ = ["Listed", "list_submissions", "look_up", "submissions_left"]

_PAGE, _PAGES = 100, 20


@dataclass(frozen=True, slots=True)
class Listed:
    """A submission as Kaggle lists it; scores are text there, empty while there are none."""

    ref: int
    date: str
    file: str
    description: str
    status: Literal["PENDING", "COMPLETE", "ERROR"]
    public_score: str
    error: str


def list_submissions(client: Client, competition: str) -> list[Listed]:
    """Everything that the team has submitted, the newest first."""

    def fetch(api: Any) -> list[Listed]:
        # the client's own competition_submissions keeps the next page's token to itself
        request = ApiListSubmissionsRequest()
        request.competition_name, request.page_size, request.page = competition, _PAGE, 1
        found: list[Listed] = []
        with api.build_kaggle_client() as kaggle:
            for _ in range(_PAGES):
                answer = kaggle.competitions.competition_api_client.list_submissions(request)
                found += [_listed(submission) for submission in answer.submissions or []]
                if not answer.next_page_token:
                    break
                request.page_token = answer.next_page_token
        return found

    return client.ask(f"list the submissions to {competition}", fetch)


def look_up(client: Client, ref: int) -> Listed:
    """One submission, by Kaggle's number for it."""

    def fetch(api: Any) -> Listed:
        request = ApiGetSubmissionRequest()
        request.ref = ref
        with api.build_kaggle_client() as kaggle:
            return _listed(kaggle.competitions.competition_api_client.get_submission(request))

    return client.ask(f"look up the submission {ref}", fetch)


def submissions_left(client: Client, competition: str) -> int | None:
    """How many more may be made today; None where Kaggle does not say, as before the first."""
    limits = client.find(
        f"ask for the submission limits of {competition}",
        lambda api: api.competition_get_submission_limits(competition),
    )
    # all zero: not in a team yet, and the first submission makes one
    if limits is None or not (limits.num_allowed_now or limits.num_today or limits.num_total):
        return None
    return int(limits.num_allowed_now)


def _listed(submission: Any) -> Listed:
    return Listed(
        ref=submission.ref,
        date=f"{submission.date:%Y-%m-%d %H:%M}" if submission.date else "",
        file=submission.file_name or "",
        description=submission.description or "",
        status=submission.status.name,
        public_score=submission.public_score or "",
        error=submission.error_description or "",
    )
