"""A kernel on Kaggle: its versions, the state of their runs, and the push of a new version."""

from dataclasses import dataclass
from typing import Any

from kagglesdk.kernels.types.kernels_api_service import (
    ApiGetKernelRequest,
    ApiGetKernelSessionStatusRequest,
)

from devkit.errors import KaggleError
from devkit.kaggle.notebook.kernel_folder import (
    KernelFolder,
    injected_parameters,
    notebook_content,
)
from devkit.kaggle.service.answers import Kernel, KernelSources, PushAnswer, RunState
from devkit.kaggle.service.client import Client
from devkit.kaggle.service.secrets import refuse_secrets
from devkit.kaggle.service.turns import turn

__all__ = [
    "GONE_WRONG",
    "KernelVersion",
    "Pushed",
    "find_pushed",
    "find_version",
    "push_kernel",
    "run_state",
]

# the states of a run that failed or was cancelled
GONE_WRONG = ("ERROR", "CANCEL_REQUESTED", "CANCEL_ACKNOWLEDGED")


@dataclass(frozen=True, slots=True)
class KernelVersion:
    """A version of a kernel on Kaggle.

    Attributes
    ----------
    ref : str
        The kernel, `owner/slug`.
    number : int
        The version, counting from 1.
    digest : str
        The digest of the push, as the notebook itself names it. Empty if it was not made here.
    parameters : dict
        The parameters that are baked into the notebook. Empty if it was not made here.
    sources : frozenset of str
        The datasets, competition, models and scripts attached to it, in lower case.
    content : str
        A hash of its cells, as they are on Kaggle.
    """

    ref: str
    number: int
    digest: str
    parameters: dict[str, Any]
    sources: frozenset[str]
    content: str

    @property
    def name(self) -> str:
        """The version in words, for messages."""
        return f"{self.ref} version {self.number}"

    @property
    def label(self) -> str:
        """The version as Kaggle wants it."""
        return _label(self.number)


@dataclass(frozen=True, slots=True)
class Pushed:
    """A pushed version of the kernel.

    Attributes
    ----------
    ref : str
        The kernel, `owner/slug`.
    number : int
        The version, counting from 1.
    fingerprint : str
        The fingerprint of its kernel dataset.
    state : str
        The state of its run.
    """

    ref: str
    number: int
    fingerprint: str
    state: str = "QUEUED"


def find_pushed(client: Client, folder: KernelFolder) -> Pushed | None:
    """Find the newest version on Kaggle, if it is what this folder would push.

    None if it is another one, failed, was cancelled, lacks a source, or was edited on Kaggle.
    """
    newest = find_version(client, folder.ref)
    if newest is None or newest.digest != folder.digest or not folder.sources <= newest.sources:
        return None
    if newest.content != folder.content:
        client.say(f"{newest.ref}: version {newest.number} was edited on Kaggle, so it is not this")
        return None
    state, _ = run_state(client, newest)
    if state in GONE_WRONG:
        return None
    return Pushed(folder.ref, newest.number, folder.fingerprint, state)


def push_kernel(client: Client, folder: KernelFolder) -> Pushed:
    """Push the folder as a new version, which Kaggle then runs.

    Nothing is pushed if `find_pushed` finds it on Kaggle.

    Parameters
    ----------
    client
        The client, signed in.
    folder
        The kernel's folder.

    Raises
    ------
    DatasetError
        The folder holds something like a credential.
    KaggleError
        Kaggle refused it, or runs it without one of its sources.
    """
    refuse_secrets(folder.path, client.secrets)
    with turn(client, f"the push of {folder.ref}"):
        return _push_once(client, folder)


def _push_once(client: Client, folder: KernelFolder) -> Pushed:
    if (pushed := find_pushed(client, folder)) is not None:
        client.say(f"{pushed.ref}: version {pushed.number} is this one already ({pushed.state})")
        return pushed
    doing = f"push the kernel {folder.ref}"
    limit = str(int(client.settings.session_hours * 3600))
    answer = client.do(
        doing, lambda api: PushAnswer.of(api.kernels_push(str(folder.path), timeout=limit))
    )
    if answer.error:
        raise client.refusal(doing, answer.error)
    _refuse_missing_sources(folder, answer)
    if not answer.version_number:
        raise KaggleError(
            f"could not {doing}: Kaggle took it, but made no version of it. Run the same command "
            "again"
        )
    client.say(f"{folder.ref}: pushed version {answer.version_number}, see {answer.url}")
    return Pushed(folder.ref, answer.version_number, folder.fingerprint)


def _refuse_missing_sources(folder: KernelFolder, answer: PushAnswer) -> None:
    """Raise an error if Kaggle left out a source. The client only prints it, or not even that."""
    for kind in ("dataset", "competition", "kernel", "model"):
        if missing := getattr(answer, f"invalid_{kind}_sources"):
            raise KaggleError(
                f"could not attach the {kind} {', '.join(missing)} to {folder.ref}. Kaggle does "
                f"not know it, or hides it from you. It runs version {answer.version_number} "
                f"without it. Cancel that at {answer.url}, correct kaggle.toml, then push again"
            )


def find_version(client: Client, ref: str, number: int | None = None) -> KernelVersion | None:
    """Find a version of a kernel. None if there is none, or none that one may see.

    Parameters
    ----------
    client
        The client, signed in.
    ref
        The kernel, `owner/slug`.
    number
        The version to look for. None means the newest.
    """

    def get(api: Any) -> Kernel:
        request = ApiGetKernelRequest()
        request.user_name, request.kernel_slug = ref.split("/")
        if number is not None:
            request.version_label = _label(number)
        with api.build_kaggle_client() as kaggle:
            return Kernel.of(kaggle.kernels.kernels_api_client.get_kernel(request))

    answer = client.find(f"look at the kernel {ref}", get)
    if answer is None:
        return None
    source = answer.blob.source
    digest, parameters = injected_parameters(source)
    found = number if number is not None else answer.metadata.current_version_number
    if found < 1:
        raise KaggleError(
            f"Kaggle names no version of the kernel {ref}. Look at it on kaggle.com, then run the "
            "same command again"
        )
    attached = _attached(answer.metadata)
    return KernelVersion(ref, found, digest, parameters, attached, notebook_content(source))


def run_state(client: Client, version: KernelVersion) -> tuple[str, str]:
    """Ask for the state of a version's run, and for what went wrong in it.

    The state is QUEUED, RUNNING, COMPLETE or one of `GONE_WRONG`. In the first moments Kaggle
    knows nothing of a run. That counts as QUEUED.
    """

    def get(api: Any) -> RunState:
        # the client's own kernels_status drops the version, and reports the newest
        request = ApiGetKernelSessionStatusRequest()
        request.user_name, request.kernel_slug = version.ref.split("/")
        request.version_label = version.label
        with api.build_kaggle_client() as kaggle:
            kernels = kaggle.kernels.kernels_api_client
            return RunState.of(kernels.get_kernel_session_status(request))

    answer = client.find(f"ask for the state of {version.name}", get)
    if answer is None:
        return "QUEUED", ""
    return answer.status, answer.failure_message


def _attached(metadata: KernelSources) -> frozenset[str]:
    found = (
        metadata.dataset_data_sources,
        metadata.competition_data_sources,
        metadata.kernel_data_sources,
        metadata.model_data_sources,
    )
    return frozenset(source.lower() for sources in found for source in sources)


def _label(number: int) -> str:
    """Write a version as Kaggle wants it. It answers a bare number with 404."""
    return f"v{number}"
