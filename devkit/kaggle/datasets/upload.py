"""A folder becomes the current version of a dataset: created, versioned, or left as it is.

The fingerprint in the manifest tells whether there is anything to do. The folder's own is compared
with that of the dataset's current version, fetched from Kaggle. After an upload, Kaggle may report
the version before for some time. So the new version is waited for. It must be the current one and
ready, and hold the manifest that was sent.
"""

import contextlib
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError

from devkit.bars import waiting
from devkit.errors import KaggleError
from devkit.kaggle.datasets.staging import check_files, staged, temporary_folder
from devkit.kaggle.manifest import find_manifest, read_manifest
from devkit.kaggle.outputs import writing
from devkit.kaggle.service.answers import DatasetAnswer, VersionNumber
from devkit.kaggle.service.archives import unpack_download
from devkit.kaggle.service.client import Client
from devkit.kaggle.service.secrets import refuse_secrets
from devkit.kaggle.service.turns import turn
from devkit.kaggle.service.waiting import wait_for
from kernelkit.files import open_atomically

__all__ = ["Built", "upload_datasets"]

_READY, _FAILED = "ready", "failed"
# A note of an upload is valid for this many time limits. Then the version counts as failed.
_NOTED = 3


@dataclass(frozen=True, slots=True)
class _Remote:
    """A dataset as Kaggle reports it: its processing status and its current version."""

    status: str
    version: int


@dataclass(frozen=True, slots=True)
class Built:
    """A dataset at home that is to be uploaded.

    Attributes
    ----------
    manifest
        The file in its folder that holds the fingerprint. It has the same name on Kaggle.
    slug
        The dataset's name on Kaggle, without its owner.
    build
        The command that builds it, for an error.
    """

    manifest: Path
    slug: str
    build: str


def upload_datasets(client: Client, datasets: Sequence[Built]) -> None:
    """Make each folder the current version of its dataset, and wait until it is ready.

    Before the first one is sent, all are looked at. The same call again goes on where it was.
    Nothing is uploaded twice.

    Parameters
    ----------
    client
        The client, signed in.
    datasets
        The datasets.

    Raises
    ------
    DatasetError
        A folder cannot be uploaded as it is, or holds something like a credential.
    KaggleError
        Kaggle refused it or failed, or it was not ready in time.
    """
    uploads: list[_Upload] = []
    for each in datasets:
        fingerprint = read_manifest(each.manifest, each.build).fingerprint
        folder = each.manifest.parent
        check_files(folder)
        with waiting(f"{folder} is searched for credentials"):
            refuse_secrets(folder, client.secrets)
        uploads.append(_Upload(client, each.manifest, f"{client.owner}/{each.slug}", fingerprint))
    for upload in uploads:
        with turn(client, f"the upload of {upload.ref}"):
            upload.run()


@dataclass(frozen=True, slots=True)
class _Upload:
    """The upload of one folder, as the current version of the dataset `ref`."""

    client: Client
    manifest: Path
    ref: str
    fingerprint: str

    def run(self) -> None:
        """Send the folder unless Kaggle has it, and wait until it is ready."""
        say, short = self.client.say, self.fingerprint[:12]
        settings = self.client.settings
        note = _Note(settings.state, self.ref, settings.ready_seconds * _NOTED)
        remote = self._remote()
        if remote is not None and note.expects(self.fingerprint, remote):
            say(f"{self.ref}: version {note.version} was uploaded before, waiting for it")
            self._wait_until_ready(note.version)
            return
        if remote is not None and remote.status not in (_READY, _FAILED):
            # before it is processed, Kaggle neither shows its files nor takes another version
            say(f"{self.ref}: version {remote.version} is {remote.status}, waiting for it")
            remote = self._wait_while_processing()
        if remote is not None and self._is_this(remote):
            say(f"{self.ref}: version {remote.version} is {short} already")
            return
        version = remote.version + 1 if remote is not None else 1
        say(f"{self.ref}: uploading {short} as version {version}")
        self._send(is_first=remote is None)
        note.write(self.fingerprint, version)
        self._wait_until_ready(version)

    def _send(self, *, is_first: bool) -> None:
        """Send the files to Kaggle, as the first version or as another one."""
        quiet = not sys.stderr.isatty()  # progress bars are for people
        state, doing = self.client.settings.state, f"add a version to the dataset {self.ref}"
        if is_first:
            doing = f"create the dataset {self.ref}"
        with staged(self.manifest.parent, self.ref, state) as stage:

            def send(api: Any) -> DatasetAnswer:
                # the client keeps there what it needs to resume an upload
                with temporary_folder(state):
                    if is_first:
                        answer = api.dataset_create_new(str(stage), quiet=quiet)
                    else:
                        answer = api.dataset_create_version(str(stage), self.fingerprint, quiet)
                return DatasetAnswer.of(answer)

            answer = self.client.do(doing, send, self.client.settings.upload_seconds)
        if answer.status.lower() != "ok":
            raise self.client.refusal(doing, answer.error or answer.status)

    def _remote(self) -> _Remote | None:
        """Ask Kaggle for the dataset. None if there is none, or none that one may see."""

        def state(api: Any) -> _Remote:
            # The number comes first. Otherwise the status of the version before could come with
            # the number of the new one.
            text = api.dataset_status(self.ref, format="json(current_version_number)")
            number = VersionNumber.model_validate_json(text).current_version_number
            return _Remote(api.dataset_status(self.ref), number)

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

    def _wait_until_ready(self, version: int) -> None:
        settings = self.client.settings
        with waiting(f"{self.ref}: Kaggle processes version {version}"):
            found = wait_for(
                f"version {version} of {self.ref} to be ready",
                lambda: self._ready(version),
                seconds=settings.ready_seconds,
                every=settings.poll_seconds,
            )
        self.client.say(f"{self.ref}: version {found} is ready")

    def _ready(self, version: int) -> int | None:
        """The current version, if it is this one or later, is ready and has the fingerprint."""
        remote = self._remote()
        if remote is None or remote.version < version:
            return None
        if remote.status == _FAILED:
            raise KaggleError(
                f"Kaggle failed to process version {remote.version} of {self.ref}. Look at its "
                "page there, then run the same command again to upload it once more"
            )
        if remote.status != _READY:
            return None
        there = self._fingerprint_of(remote.version)
        if there is None:  # the files appear a little after the status
            return None
        if there != self.fingerprint:
            raise KaggleError(
                f"version {remote.version} of {self.ref} is {there[:12]}, not "
                f"{self.fingerprint[:12]}. Somebody else uploaded at the same time. Agree who "
                "uploads, then run the same command again"
            )
        return remote.version

    def _fingerprint_of(self, version: int) -> str | None:
        """Fetch the fingerprint of a version on Kaggle. None if no manifest can be read there."""
        where, name = f"{self.ref}/{version}", self.manifest.name
        with tempfile.TemporaryDirectory() as folder:

            def fetch(api: Any) -> None:
                api.dataset_download_file(where, name, folder, force=True)

            self.client.find(f"fetch {name} of the dataset {where}", fetch)
            path = unpack_download(Path(folder))
            content = find_manifest(path) if path is not None else None
            return content.fingerprint if content is not None else None


class _Noted(BaseModel):
    """The content of a note: what was sent, as which version, and when."""

    model_config = ConfigDict(frozen=True)

    fingerprint: str
    version: int
    time: FiniteFloat


class _Note:
    """A note of the last upload, until Kaggle shows it. That may take minutes.

    A note older than `seconds` does not count. That version has failed and is sent again. Nor does
    one of the future count, which a wrong clock wrote.
    """

    def __init__(self, state: Path, ref: str, seconds: float) -> None:
        self._path = state / f"{ref.replace('/', '--')}.json"
        self.version = 0
        self._fingerprint = ""
        # without a note, or with a broken one, only Kaggle's answers count
        with contextlib.suppress(OSError, ValidationError):
            noted = _Noted.model_validate_json(self._path.read_bytes())
            if abs(time.time() - noted.time) < seconds:
                self.version = noted.version
                self._fingerprint = noted.fingerprint

    def expects(self, fingerprint: str, remote: _Remote) -> bool:
        """Whether this fingerprint was uploaded, and is not the current version yet."""
        return fingerprint == self._fingerprint and remote.version < self.version

    def write(self, fingerprint: str, version: int) -> None:
        """Note that this was uploaded, and will be that version."""
        noted = _Noted(fingerprint=fingerprint, version=version, time=time.time())
        with writing(self._path, "state"), open_atomically(self._path) as file:
            file.write(noted.model_dump_json())
