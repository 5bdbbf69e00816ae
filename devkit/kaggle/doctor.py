"""`make doctor`: what is still missing before a push can succeed, one line per thing."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version

from devkit.errors import KaggleError
from devkit.kaggle.next_step import next_step
from devkit.kaggle.notebook.kernel_folder import prepare_folder
from devkit.kaggle.service.client import Client
from devkit.kaggle.service.secrets import refuse_secrets
from devkit.kaggle.settings import Settings
from devkit.kaggle.submissions.account import check_competition, check_gpu_hours, check_submissions
from devkit.kaggle.submissions.ledger import Ledger
from kernelkit.errors import KernelKitError, as_sentence

__all__ = ["Finding", "examine", "find_next_step"]


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
        yield _check("GPU hours", lambda: check_gpu_hours(client))
    yield _check("competition", lambda: check_competition(client))
    yield _check("submissions", lambda: check_submissions(client))
    yield _check("ledger", lambda: _ledger(settings))


def find_next_step(settings: Settings) -> str:
    """What is to be done next, in one line."""
    try:
        client: Client | None = Client(settings)
    except KaggleError:
        client = None
    try:
        return next_step(settings, client)
    except KernelKitError as error:
        return f"see above ({as_sentence(error)})"


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


def _ledger(settings: Settings) -> str:
    count = len(Ledger(settings.ledger).entries())
    return f"{settings.ledger.name}, {count} submissions" if count else "no submission yet"
