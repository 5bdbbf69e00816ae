"""A kernel's run on Kaggle: its log followed to the end, what it must say there, its output.

That a run is complete does not say that it did what it was to do: the log must hold the notebook's
end marker and the fingerprint of the dataset, and the submission must be one that the competition
would take.
"""

import csv
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from kagglesdk.kernels.types.kernels_api_service import ApiListKernelSessionOutputRequest

from devkit.errors import ToolError
from devkit.kaggle.notebook.kernel import KernelHead, kernel_state, version_label
from devkit.kaggle.service.client import Client, unpack_download, wait_for

__all__ = ["SUBMISSION", "check_log", "fetch_submission", "follow_run"]

# as the last cell of the notebook prints it
_END_MARKER = "kernelkit: end of the run"
SUBMISSION = "submission.csv"
_WENT_WRONG = ("ERROR", "CANCEL_REQUESTED", "CANCEL_ACKNOWLEDGED")
_LAST_LINES = 20


@dataclass(frozen=True, slots=True)
class _Output:
    """What a finished run left: the pieces of its log, and where its files can be fetched."""

    log: list[str]
    files: dict[str, str]


def follow_run(client: Client, head: KernelHead, *, quietly: bool = False) -> str:
    """Wait for the end of a run, printing its log as it is written; returns the whole log.

    Parameters
    ----------
    quietly
        Print its state only, when it changes.

    Raises
    ------
    ToolError
        The run failed or was cancelled (with the last lines of its log), or took too long.
    """
    settings = client.settings
    what = f"{head.ref} version {head.number}"
    follower = _Follower(client, head, quietly)
    state = wait_for(
        f"the end of {what}",
        follower.look,
        seconds=settings.kernel_seconds,
        every=settings.poll_seconds,
    )
    log = _output(client, head).log
    if not quietly:
        for piece in log[follower.shown :]:
            client.say(piece.rstrip("\n"))
    text = "".join(log)
    if state in _WENT_WRONG:
        raise ToolError(
            f"{what} ended with {state}{follower.failure}; the last lines of its log:\n"
            + _last_lines(text)
        )
    return text


class _Follower:
    """Looks at a run again and again; prints what is new."""

    def __init__(self, client: Client, head: KernelHead, quietly: bool) -> None:
        self._client = client
        self._head = head
        self._quietly = quietly
        self._state = ""
        self.shown = 0
        self.failure = ""

    def look(self) -> str | None:
        """The state in which the run ended, or None while it has not."""
        state, failure = kernel_state(self._client, self._head)
        if state != self._state:
            self._client.say(f"{self._head.ref} version {self._head.number}: {state}")
        self._state = state
        if state == "COMPLETE" or state in _WENT_WRONG:
            self.failure = f" ({failure})" if failure else ""
            return state
        if state == "RUNNING" and not self._quietly:
            self._show_stream()
        return None

    def _show_stream(self) -> None:
        """Print the live log until it breaks off or is silent for a while.

        The service sends it from the beginning each time, so what was shown is passed over.
        """
        until = time.monotonic() + self._client.settings.poll_seconds * 10
        events = self._client.stream(lambda api: api.kernels_logs_stream(self._head.ref))
        for count, event in enumerate(events, 1):
            if event is None or time.monotonic() > until:
                return
            if count > self.shown:
                self.shown = count
                self._client.say(str(event.get("data", "")).rstrip("\n"))


def check_log(log: str, head: KernelHead) -> None:
    """Refuse a run whose log lacks the end marker, or the fingerprint it was pushed with.

    Raises
    ------
    ToolError
        What is missing.
    """
    what = f"{head.ref} version {head.number}"
    if _END_MARKER not in log:
        raise ToolError(
            f"{what} is complete, but its log has no line {_END_MARKER!r}: the notebook did not "
            "get to its end; make logs shows how far it came"
        )
    fingerprint = str(head.parameters.get("fingerprint", ""))
    # the bootstrap prints the first twelve characters
    if fingerprint[:12] not in log:
        raise ToolError(
            f"{what} is complete, but its log does not name the dataset {fingerprint[:12]} that it "
            "was pushed with: it ran with another version; push again"
        )


def fetch_submission(client: Client, head: KernelHead) -> Path:
    """Fetch the submission that the run wrote, and check it as the competition would.

    Raises
    ------
    ToolError
        The run has left none.
    SubmissionError
        Its columns or ids are not those of the competition's sample.
    """
    # it brings numba with it, which takes a second that the other commands need not wait
    from kernelkit.competition import check_submission

    output = _output(client, head)
    if SUBMISSION not in output.files:
        raise ToolError(f"{head.ref} version {head.number} has left no {SUBMISSION}")
    folder = client.settings.output_folder / f"v{head.number}"
    path = folder / SUBMISSION
    _download(client, output.files[SUBMISSION], path)
    (folder / "kernel.log").write_text("".join(output.log), encoding="utf-8")
    wanted = _sample_ids(client, folder)
    if wanted is None:
        client.say("no sample submission can be fetched, so the ids are compared with nothing")
        wanted = _ids(path)
    check_submission(path, wanted, {}, client.settings.loaded_recipe.competition)
    client.say(f"{path}: checked, {len(wanted)} rows")
    return path


def _last_lines(log: str) -> str:
    lines = log.rstrip().splitlines()[-_LAST_LINES:] or ["(the log is empty)"]
    return "\n".join(f"    {line}" for line in lines)


def _output(client: Client, head: KernelHead) -> _Output:
    """Everything that a run left; the client's own kernels_output drops the version."""

    def fetch(api: Any) -> _Output:
        request = ApiListKernelSessionOutputRequest()
        request.user_name, request.kernel_slug = head.ref.split("/")
        request.version_label = version_label(head.number)
        request.page_size = 100
        files: dict[str, str] = {}
        log = None
        with api.build_kaggle_client() as kaggle:
            while True:
                answer = kaggle.kernels.kernels_api_client.list_kernel_session_output(request)
                log = log or answer.log
                files |= {file.file_name: file.url for file in answer.files or []}
                if not answer.next_page_token:
                    return _Output(_pieces(log or ""), files)
                request.page_token = answer.next_page_token

    return client.ask(f"fetch the output of {head.ref} version {head.number}", fetch)


def _pieces(log: str) -> list[str]:
    """A log as the service keeps it, a JSON list of events, or as plain lines."""
    try:
        events = json.loads(log)
    except ValueError:
        return log.splitlines(keepends=True)
    return [str(event.get("data", "")) for event in events if isinstance(event, dict)]


def _download(client: Client, url: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")

    def fetch(_: Any) -> None:
        timeout = client.settings.answer_seconds
        with requests.get(url, stream=True, timeout=timeout) as response, partial.open("wb") as out:
            response.raise_for_status()
            for piece in response.iter_content(2**20):
                out.write(piece)

    client.ask(f"fetch {path.name}", fetch)
    partial.replace(path)


def _sample_ids(client: Client, folder: Path) -> list[str] | None:
    """The ids that the competition wants, from its sample; None where it has none to be fetched."""
    name = client.settings.loaded_recipe.competition.sample
    competition = client.settings.competition
    with tempfile.TemporaryDirectory(dir=folder) as temporary:

        def fetch(api: Any) -> None:
            api.competition_download_file(competition, name, temporary, force=True, quiet=True)

        client.find(f"fetch {name} of {competition}", fetch)
        path = unpack_download(Path(temporary))
        return _ids(path) if path is not None else None


def _ids(path: Path) -> list[str]:
    limit = csv.field_size_limit(2**31 - 1)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [row[0] for row in csv.reader(file) if row][1:]
    finally:
        csv.field_size_limit(limit)
