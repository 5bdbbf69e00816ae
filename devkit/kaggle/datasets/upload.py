"""A folder becomes the current version of a dataset: created, versioned, or left as it is.

What tells whether anything is to be done is the fingerprint in the manifest: the folder's own, and
that of the dataset's current version, fetched from Kaggle. After an upload one waits for that very
version: it must be the current one, ready, and hold the manifest that was sent, since for some time
the service may speak of the version before.
"""

import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devkit.errors import DatasetError, ToolError
from devkit.kaggle.datasets.staging import staged, temporary_folder
from devkit.kaggle.service.client import Client, unpack_download, wait_for
from devkit.kaggle.service.secrets import refuse_secrets

__all__ = ["DatasetVersion", "read_manifest", "upload_dataset"]

_READY, _FAILED = "ready", "failed"
# how many times one may run into the time limit before what was uploaded is given up
_NOTED = 3


@dataclass(frozen=True, slots=True)
class DatasetVersion:
    """A version of a dataset on Kaggle, ready to be mounted.

    Attributes
    ----------
    ref
        `owner/slug`.
    number
        Counting from 1.
    is_new
        Whether this run uploaded it.
    """

    ref: str
    number: int
    is_new: bool


@dataclass(frozen=True, slots=True)
class _Remote:
    """What Kaggle says of a dataset: its processing status and its current version."""

    status: str
    version: int


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a dataset that was built; it has a fingerprint.

    Raises
    ------
    DatasetError
        There is no such file, or no fingerprint in it.
    """
    if not path.is_file():
        raise DatasetError(
            f"{path}: there is no such file; build the dataset first, with make kernel-dataset "
            "or make weights-dataset"
        )
    content = _manifest_in(path)
    if content is None:
        raise DatasetError(f"{path}: no fingerprint is in it; build the dataset again")
    return content


def upload_dataset(client: Client, manifest: Path, slug: str) -> DatasetVersion:
    """Make a folder the current version of the dataset `slug`, and wait until it is ready.

    Parameters
    ----------
    manifest
        The file in the folder that holds the fingerprint; it has the same name on Kaggle.

    Raises
    ------
    DatasetError
        A folder that cannot be uploaded as it is, or that holds something like a credential.
    ToolError
        Kaggle refused it or failed on it, or it was not ready in time. Running the same again
        goes on: nothing is uploaded twice.
    """
    fingerprint = str(read_manifest(manifest)["fingerprint"])
    refuse_secrets(manifest.parent, client.secrets)
    return _Upload(client, manifest, f"{client.owner}/{slug}", fingerprint).run()


@dataclass(frozen=True, slots=True)
class _Upload:
    """One folder on its way to being the current version of the dataset `ref`."""

    client: Client
    manifest: Path
    ref: str
    fingerprint: str

    def run(self) -> DatasetVersion:
        say, short = self.client.say, self.fingerprint[:12]
        settings = self.client.settings
        note = _Note(settings.state, self.ref, settings.ready_seconds * _NOTED)
        remote = self._remote()
        if remote is not None and note.expects(self.fingerprint, remote):
            say(f"{self.ref}: version {note.version} was uploaded before, waiting for it")
            return self._wait_until_ready(note.version, is_new=False)
        if remote is not None and remote.status not in (_READY, _FAILED):
            # until it is processed, Kaggle neither shows its files nor takes another version
            say(f"{self.ref}: version {remote.version} is {remote.status}, waiting for it")
            remote = self._wait_while_processing()
        if remote is not None and self._is_this(remote):
            say(f"{self.ref}: version {remote.version} is {short} already")
            return DatasetVersion(self.ref, remote.version, is_new=False)
        version = remote.version + 1 if remote is not None else 1
        say(f"{self.ref}: uploading {short} as version {version}")
        self._send(is_first=remote is None)
        note.write(self.fingerprint, version)
        return self._wait_until_ready(version, is_new=True)

    def _send(self, *, is_first: bool) -> None:
        quiet = not sys.stderr.isatty()  # progress bars are for people
        state, doing = self.client.settings.state, f"add a version to the dataset {self.ref}"
        if is_first:
            doing = f"create the dataset {self.ref}"
        with staged(self.manifest.parent, self.ref, state) as stage:

            def send(api: Any) -> Any:
                # the client keeps the state of an upload that can be resumed in that folder
                with temporary_folder(state):
                    if is_first:
                        return api.dataset_create_new(str(stage), quiet=quiet)
                    return api.dataset_create_version(str(stage), self.fingerprint, quiet)

            answer = self.client.do(doing, send, self.client.settings.upload_seconds)
        if answer is None or answer.status.lower() != "ok":
            raise self.client.refuse(doing, (answer and (answer.error or answer.status)) or "")

    def _remote(self) -> _Remote | None:
        """What Kaggle says of the dataset; None where there is none, or none one may see."""

        def state(api: Any) -> _Remote:
            # the number first: were it asked for last, a status of the version before could come
            # with the number of the new one
            number = json.loads(api.dataset_status(self.ref, format="json(current_version_number)"))
            return _Remote(api.dataset_status(self.ref), number["current_version_number"])

        return self.client.find(f"ask for the status of the dataset {self.ref}", state)

    def _is_this(self, remote: _Remote) -> bool:
        return remote.status == _READY and self._fingerprint_of(remote.version) == self.fingerprint

    def _wait_while_processing(self) -> _Remote:
        def processed() -> _Remote | None:
            remote = self._remote()
            return remote if remote is not None and remote.status in (_READY, _FAILED) else None

        settings = self.client.settings
        return wait_for(
            f"the end of the processing of {self.ref}",
            processed,
            seconds=settings.ready_seconds,
            every=settings.poll_seconds,
        )

    def _wait_until_ready(self, version: int, *, is_new: bool) -> DatasetVersion:
        settings = self.client.settings
        found = wait_for(
            f"version {version} of {self.ref}, ready,",
            lambda: self._ready(version),
            seconds=settings.ready_seconds,
            every=settings.poll_seconds,
        )
        self.client.say(f"{self.ref}: version {found} is ready")
        return DatasetVersion(self.ref, found, is_new)

    def _ready(self, version: int) -> int | None:
        """The current version, if it is this one or a later one, ready, and has the fingerprint."""
        remote = self._remote()
        if remote is None or remote.version < version:
            return None
        if remote.status == _FAILED:
            raise ToolError(
                f"Kaggle failed to process version {remote.version} of {self.ref}: look at its "
                "page there, then run the same command again to upload it once more"
            )
        if remote.status != _READY:
            return None
        there = self._fingerprint_of(remote.version)
        if there is None:  # the files come a little after the status
            return None
        if there != self.fingerprint:
            raise ToolError(
                f"version {remote.version} of {self.ref} is {there[:12]}, not "
                f"{self.fingerprint[:12]}: somebody else has uploaded meanwhile; agree who does"
            )
        return remote.version

    def _fingerprint_of(self, version: int) -> str | None:
        """The fingerprint of a version on Kaggle; None where it has no manifest to be read."""
        where, name = f"{self.ref}/{version}", self.manifest.name
        with tempfile.TemporaryDirectory() as folder:

            def fetch(api: Any) -> None:
                api.dataset_download_file(where, name, folder, force=True)

            self.client.find(f"fetch {name} of the dataset {where}", fetch)
            path = unpack_download(Path(folder))
            content = _manifest_in(path) if path is not None else None
            return str(content["fingerprint"]) if content is not None else None


def _manifest_in(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError):
        return None
    return content if isinstance(content, dict) and content.get("fingerprint") else None


class _Note:
    """What was uploaded last, kept until Kaggle shows it: its status may lag behind by minutes.

    A note older than `seconds` counts for nothing: that version has failed, and is sent again.
    """

    def __init__(self, state: Path, ref: str, seconds: float) -> None:
        self._path = state / f"{ref.replace('/', '--')}.json"
        self.version = 0
        self._fingerprint = ""
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
            if time.time() < float(content["time"]) + seconds:
                self.version = int(content["version"])
                self._fingerprint = str(content["fingerprint"])
        except (OSError, ValueError, KeyError, TypeError):
            pass  # no note, or none that can be read, is the same: ask Kaggle

    def expects(self, fingerprint: str, remote: _Remote) -> bool:
        """Whether this fingerprint was uploaded, and is not the current version yet."""
        return fingerprint == self._fingerprint and remote.version < self.version

    def write(self, fingerprint: str, version: int) -> None:
        """Note that this was uploaded, and will be that version."""
        content = {"fingerprint": fingerprint, "version": version, "time": time.time()}
        self._path.write_text(json.dumps(content), encoding="utf-8")
