"""What this account may do: enter a competition, submit to it, and run on a GPU.

`make doctor` shows all of it. A command that uploads, runs or submits asks first for what it needs.
Otherwise Kaggle might refuse a submission after hours of a run.
"""

from typing import Any

from kagglesdk.competitions.types.competition_api_service import ApiGetCompetitionRequest

from devkit.errors import KaggleError
from devkit.kaggle.service.answers import Competition, Quota
from devkit.kaggle.service.client import Client
from devkit.kaggle.submissions.listing import submissions_left

__all__ = ["check_competition", "check_gpu_hours", "check_submissions"]


def check_competition(client: Client) -> str:
    """Ask whether the settings' competition exists, was joined, and takes submissions.

    Returns
    -------
    What it takes, in words.

    Raises
    ------
    KaggleError
        It does not exist, its rules were not accepted, or it is closed.
    """
    slug = client.settings.competition

    def fetch(api: Any) -> Competition:
        request = ApiGetCompetitionRequest()
        request.competition_name = slug
        with api.build_kaggle_client() as kaggle:
            competitions = kaggle.competitions.competition_api_client
            return Competition.of(competitions.get_competition(request))

    found = client.find(f"look at the competition {slug}", fetch)
    if found is None:
        raise KaggleError(
            f"there is no competition {slug}. Correct competition in kaggle.toml, or COMPETITION"
        )
    if not found.user_has_entered:
        raise KaggleError(
            f"you have not joined {slug}. Join the competition and accept its rules on its page, "
            "then run the same command again"
        )
    if found.submissions_disabled:
        raise KaggleError(f"{slug} takes no submissions any more")
    kind = "notebooks only" if found.is_kernels_submissions_only else "CSV files too"
    return f"{slug}, joined. It takes {kind}"


def check_gpu_hours(client: Client) -> str:
    """Ask whether GPU hours are left this week, as far as Kaggle says.

    Returns
    -------
    How many, in words.

    Raises
    ------
    KaggleError
        None is left.
    """
    if not client.settings.accelerator:
        return "none are needed"
    quota = client.ask("ask for the GPU quota", lambda api: Quota.of(api.quota_view())).gpu_quota
    if quota is None or not quota.total_time_allowed:
        return "Kaggle does not say"
    left = (quota.total_time_allowed - quota.time_used).total_seconds() / 3600
    hours = client.settings.session_hours
    if left <= 0:
        raise KaggleError(
            "this week's GPU hours are used up. `.venv/bin/kaggle quota` says when there are new "
            "ones"
        )
    return f"{left:.1f} left this week. A run may take {hours:g}"


def check_submissions(client: Client) -> str:
    """Ask whether a submission is left today.

    Returns
    -------
    How many, in words.

    Raises
    ------
    KaggleError
        None is left.
    """
    competition = client.settings.competition
    left = submissions_left(client, competition)
    if left == 0:
        raise KaggleError(
            f"{competition} takes no more submissions today. Run the same command again after "
            "00:00 UTC"
        )
    return "none made yet" if left is None else f"{left} left today"
