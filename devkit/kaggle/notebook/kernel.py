"""Push the kernel's folder, unless Kaggle has it already; what Kaggle knows of a kernel."""

from dataclasses import dataclass
from typing import Any

from kagglesdk.kernels.types.kernels_api_service import (
    ApiGetKernelRequest,
    ApiGetKernelSessionStatusRequest,
)

from devkit.errors import ToolError
from devkit.kaggle.notebook.folder import KernelFolder, injected_parameters
from devkit.kaggle.service.client import Client
from devkit.kaggle.service.secrets import refuse_secrets

__all__ = ["KernelHead", "Pushed", "find_kernel", "kernel_state", "push_kernel", "version_label"]

_GONE_WRONG = ("ERROR", "CANCEL_REQUESTED", "CANCEL_ACKNOWLEDGED")


@dataclass(frozen=True, slots=True)
class KernelHead:
    """A kernel's newest version on Kaggle, or the version asked for.

    Attributes
    ----------
    ref, number
        `owner/slug`, and the version, counting from 1.
    digest, parameters
        What the notebook itself says it was pushed as; empty if it was not made here.
    sources
        What is attached to it, of every kind, in lower case.
    """

    ref: str
    number: int
    digest: str
    parameters: dict[str, Any]
    sources: frozenset[str]


@dataclass(frozen=True, slots=True)
class Pushed:
    """A version of the kernel on Kaggle; `is_new` says whether this run pushed it."""

    ref: str
    number: int
    digest: str
    fingerprint: str
    is_new: bool


def push_kernel(client: Client, folder: KernelFolder) -> Pushed:
    """Push the folder as a new version, which Kaggle then runs, unless its newest is this one.

    A version that failed, was cancelled or lacks a source is pushed anew.

    Raises
    ------
    DatasetError
        The folder holds something like a credential.
    ToolError
        Kaggle refused it, or would have run it without one of its sources.
    """
    refuse_secrets(folder.path, client.secrets)
    head = find_kernel(client, folder.ref)
    if head is not None and head.digest == folder.digest and folder.sources <= head.sources:
        state, _ = kernel_state(client, head)
        if state not in _GONE_WRONG:
            client.say(f"{head.ref}: version {head.number} is this one already ({state})")
            return Pushed(head.ref, head.number, folder.digest, folder.fingerprint, is_new=False)
    doing = f"push the kernel {folder.ref}"
    hours = client.settings.loaded_recipe.hours
    answer = client.do(
        doing, lambda api: api.kernels_push(str(folder.path), timeout=str(int(hours * 3600)))
    )
    if answer is None or answer.error:
        raise client.refuse(doing, answer.error if answer is not None else "")
    _refuse_missing_sources(client, folder, answer)
    if not answer.version_number:
        raise ToolError(f"could not {doing}: Kaggle took it, but made no version of it; try again")
    client.say(f"{folder.ref}: pushed version {answer.version_number}, see {answer.url}")
    return Pushed(folder.ref, answer.version_number, folder.digest, folder.fingerprint, is_new=True)


def _refuse_missing_sources(client: Client, folder: KernelFolder, answer: Any) -> None:
    """An error where Kaggle left out a source: the client only prints it, or not even that."""
    for kind in ("dataset", "competition", "kernel", "model"):
        if missing := getattr(answer, f"invalid_{kind}_sources"):
            raise ToolError(
                f"could not attach the {kind} {', '.join(missing)} to {folder.ref}: Kaggle does "
                f"not know it, or not for you, and runs version {answer.version_number} without "
                f"it; cancel that at {answer.url}, correct kaggle.toml, then push again"
            )


def find_kernel(client: Client, ref: str, number: int | None = None) -> KernelHead | None:
    """The kernel's newest version, or version `number`; None where there is none."""

    def get(api: Any) -> Any:
        request = ApiGetKernelRequest()
        request.user_name, request.kernel_slug = ref.split("/")
        if number is not None:
            request.version_label = version_label(number)
        with api.build_kaggle_client() as kaggle:
            return kaggle.kernels.kernels_api_client.get_kernel(request)

    answer = client.find(f"look at the kernel {ref}", get)
    if answer is None:
        return None
    digest, parameters = injected_parameters(answer.blob.source)
    found = number if number is not None else answer.metadata.current_version_number
    return KernelHead(ref, found, digest, parameters, _attached(answer.metadata))


def kernel_state(client: Client, head: KernelHead) -> tuple[str, str]:
    """The state of that version's run (QUEUED, RUNNING, COMPLETE, ERROR, ...) and what went wrong.

    Kaggle says nothing of a run for the first moments; that counts as QUEUED.
    """

    def get(api: Any) -> Any:
        # the client's own kernels_status drops the version, and tells of the newest
        request = ApiGetKernelSessionStatusRequest()
        request.user_name, request.kernel_slug = head.ref.split("/")
        request.version_label = version_label(head.number)
        with api.build_kaggle_client() as kaggle:
            return kaggle.kernels.kernels_api_client.get_kernel_session_status(request)

    answer = client.find(f"ask for the state of {head.ref} version {head.number}", get)
    if answer is None:
        return "QUEUED", ""
    return answer.status.name, answer.failure_message or ""


def _attached(metadata: Any) -> frozenset[str]:
    kinds = ("dataset", "competition", "kernel", "model")
    found = (getattr(metadata, f"{kind}_data_sources", None) or () for kind in kinds)
    return frozenset(source.lower() for sources in found for source in sources)


def version_label(number: int) -> str:
    """A version as the service wants it: a bare number is answered with 404."""
    return f"v{number}"
