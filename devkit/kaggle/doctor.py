"""`make doctor`: what is still missing before a push can succeed, one line per thing."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from kagglesdk.competitions.types.competition_api_service import ApiGetCompetitionRequest

from devkit.errors import KaggleError
from devkit.kaggle.notebook.kernel_folder import prepare_folder
from devkit.kaggle.service.client import Client
from devkit.kaggle.service.secrets import refuse_secrets
from devkit.kaggle.settings import Settings
from devkit.kaggle.submissions.listing import submissions_left
from kernelkit.errors import KernelKitError

__all__ = ["Finding", "examine"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a push needs.

    Attributes
    ----------
    what : str
        Its name.
    is_fine : bool
        Whether it is as it should be.
    found : str
        What was found.
    """

    what: str
    is_fine: bool
    found: str


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at everything that a push needs. On Kaggle nothing is changed.

    Parameters
    ----------
    settings
        The settings to push with.

    Yields
    ------
    Each finding, as soon as it is known.
    """
    yield Finding("client", True, f"kaggle {version('kaggle')}")
    try:
        client = Client(settings)
    except KaggleError as error:
        yield Finding("account", False, str(error))
        yield _check("kernel folder", lambda: _folder(settings, settings.owner or "you"))
        return
    yield _check("account", lambda: _account(client))
    yield _check("kernel folder", lambda: _folder(settings, client.owner))
    if settings.accelerator:
        yield _check("GPU hours", lambda: _gpu_hours(client))
    yield _check("competition", lambda: _competition(client))
    yield _check("submissions", lambda: _submissions(client))


def _check(what: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(what, True, look())
    except KernelKitError as error:
        return Finding(what, False, str(error))


def _account(client: Client) -> str:
    # signing in does not try a legacy key, so ask something that needs it
    client.ask("check the credentials", lambda api: api.quota_view())
    if client.owner != client.username:
        return f"{client.username}. Pushes belong to {client.owner}, as the settings say"
    return client.username


def _folder(settings: Settings, owner: str) -> str:
    folder = prepare_folder(settings, owner)
    refuse_secrets(folder.path, frozenset())
    return f"{folder.path}, for the dataset {folder.fingerprint[:12]}"


def _gpu_hours(client: Client) -> str:
    quota = client.ask("ask for the GPU quota", lambda api: api.quota_view()).gpu_quota
    if quota is None:
        return "Kaggle does not say"
    left = (quota.total_time_allowed - quota.time_used).total_seconds() / 3600
    hours = client.settings.loaded_recipe.hours
    if left <= 0:
        raise KaggleError(
            "this week's GPU hours are used up. `kaggle quota` says when there are new ones"
        )
    return f"{left:.1f} left this week. A run may take {hours:g}"


def _competition(client: Client) -> str:
    slug = client.settings.competition

    def fetch(api: Any) -> Any:
        request = ApiGetCompetitionRequest()
        request.competition_name = slug
        with api.build_kaggle_client() as kaggle:
            return kaggle.competitions.competition_api_client.get_competition(request)

    found = client.find(f"look at the competition {slug}", fetch)
    if found is None:
        raise KaggleError(f"there is no competition {slug}. Correct competition in kaggle.toml")
    if not found.user_has_entered:
        raise KaggleError(f"you have not joined {slug}. Accept its rules on its page")
    if found.submissions_disabled:
        raise KaggleError(f"{slug} takes no submissions any more")
    kind = "notebooks only" if found.is_kernels_submissions_only else "CSV files too"
    return f"{slug}, joined. It takes {kind}"


def _submissions(client: Client) -> str:
    left = submissions_left(client, client.settings.competition)
    if left == 0:
        raise KaggleError("none of today's submissions is left. There are more after 00:00 UTC")
    return "none made yet" if left is None else f"{left} left today"
