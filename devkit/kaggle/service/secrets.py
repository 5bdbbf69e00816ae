"""Credentials: which ones this machine has, text without them, and folders that must hold none.

Kernels and datasets are pushed to a public service. One click publishes a private kernel after the
competition. So what looks like a token is refused before the push. It may be one of the user's own
or merely have the form of one.
"""

import base64
import json
import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TextIO
from urllib.parse import urlsplit

from devkit.errors import DatasetError
from kernelkit.files import DAMAGED_ARCHIVE, expanded

__all__ = ["ScrubbedStream", "credential_folders", "known_secrets", "refuse_secrets", "scrub"]

# in bytes. A larger file holds weights or wheels of others: a pattern would only match by chance
_LARGEST_TEXT = 5 * 2**20

_FILES = re.compile(
    r"(kaggle\.json|access_token(\.txt)?|credentials\.json|\.netrc|\.env(\..+)?|\.pypirc"
    r"|id_(rsa|dsa|ecdsa|ed25519)|.*\.pem)"
)
# a quote in a notebook's JSON is written \"
_QUOTE = rb"\\?[\"']"
_TOKEN = re.compile(r"KGAT_[0-9A-Za-z]{16,}")
_FORMS = {
    "a Kaggle API token": _TOKEN.pattern.encode(),
    "the key of a kaggle.json": _QUOTE + rb"key" + _QUOTE + rb"\s*:\s*" + _QUOTE + rb"[0-9a-f]{32}",
    "a Kaggle key": rb"KAGGLE_(?:KEY|API_TOKEN)\b[^\w\n]{1,12}\w{16,}",
    "a Hugging Face token": rb"\bhf_[A-Za-z0-9]{30,}",
    "a GitHub token": rb"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{22,})",
    "an AWS key": rb"\bAKIA[0-9A-Z]{16}\b",
    "a Google key": rb"\bAIza[0-9A-Za-z_-]{35}",
    "a Slack token": rb"\bxox[abprs]-[0-9A-Za-z-]{10,}",
    "a W&B key": rb"WANDB_API_KEY\b[^\w\n]{1,12}[0-9a-f]{40}",
    "an API key": rb"\bsk-[A-Za-z0-9_-]{32,}",
    "a private key": rb"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "a web token": rb"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}",
    "a password or token in the code": (
        rb"(?i)\b\w*(?:api_?key|secret|passwo?r?d|token)\s*[=:]\s*"
        + _QUOTE
        + rb"[A-Za-z0-9_\-/+=]{20,}"
        + _QUOTE
    ),
}
_PATTERNS = {kind: re.compile(form) for kind, form in _FORMS.items()}
# the wheels of others hold examples and test data, so only these forms count there
_EXACT_KINDS = ("a Kaggle API token", "the key of a kaggle.json")


def known_secrets(environment: Mapping[str, str] | None = None) -> frozenset[str]:
    """Collect the credentials that the official client may use here, as they are sent.

    Parameters
    ----------
    environment
        The variables to look at. None means this process's own.
    """
    environment = os.environ if environment is None else environment
    found = {environment.get("KAGGLE_KEY", "")}
    token = environment.get("KAGGLE_API_TOKEN", "")
    found.add(_text(Path(token)) if _is_file(token) else token)
    user = environment.get("KAGGLE_USERNAME", "")
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"):
        found.add(_password(environment.get(name, "")))
    for folder in credential_folders(environment):
        for name in ("access_token", "access_token.txt"):
            found.add(_text(folder / name))
        for name in ("kaggle.json", "credentials.json"):
            content = _json(folder / name)
            found |= {content.get(key, "") for key in ("key", "access_token", "refresh_token")}
            user = user or content.get("username", "")
    # a shorter text is no credential, and replacing it would garble the output
    secrets = {secret for secret in found if len(secret) >= 8}
    basic = {base64.b64encode(f"{user}:{secret}".encode()).decode() for secret in secrets if user}
    return frozenset(secrets | basic)


def credential_folders(environment: Mapping[str, str]) -> list[Path]:
    """Return the folders in which the official client may look for credentials.

    Parameters
    ----------
    environment
        The variables to look at.
    """
    folders = [Path("~/.kaggle"), Path("~/.config/kaggle")]
    for name in ("KAGGLE_CONFIG_DIR", "XDG_CONFIG_HOME"):
        if environment.get(name):
            folders += [Path(environment[name]), Path(environment[name]) / "kaggle"]
    return list(dict.fromkeys(map(expanded, folders)))


def scrub(text: str, secrets: frozenset[str]) -> str:
    """Replace each of the secrets in `text` by `***`, and each Kaggle token too."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return _TOKEN.sub("***", text)


class ScrubbedStream:
    """A stream for the progress of the official client. Text is scrubbed, then passed on.

    Parameters
    ----------
    stream
        The stream below.
    secrets
        What may not pass.

    Attributes
    ----------
    encoding : str
        The encoding of the stream below.
    """

    def __init__(self, stream: TextIO, secrets: frozenset[str]) -> None:
        self._stream = stream
        self._secrets = secrets
        self.encoding = stream.encoding

    def write(self, text: str) -> int:
        """Pass `text` on without the secrets, and return its length as any stream does."""
        self._stream.write(scrub(text, self._secrets))
        return len(text)

    def flush(self) -> None:
        """Flush the stream below."""
        self._stream.flush()

    def isatty(self) -> bool:
        """Whether the stream below is a terminal. Progress bars ask."""
        return self._stream.isatty()


def refuse_secrets(folder: Path, secrets: frozenset[str]) -> None:
    """Refuse a folder if one of its files is, or holds, something like a credential.

    Wheels and other zip archives are searched too. Files of up to 5 MiB are searched for the form
    of a token. Every file is searched for the user's own credentials.

    Parameters
    ----------
    folder
        The folder to search.
    secrets
        The user's own credentials.

    Raises
    ------
    DatasetError
        Something was found. The error names the file, its line and the kind of secret, never the
        secret.
    """
    own = [secret.encode() for secret in secrets]
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder)
        if _FILES.fullmatch(path.name):
            raise DatasetError(
                f"{folder}/{name} is a file for credentials. Take it out of the folder. "
                "Nothing was pushed"
            )
        if found := next(_findings(path, own), None):
            where, kind = found
            raise DatasetError(
                f"{folder}/{name}{where} looks like {kind}. Take it out. If it was pushed before, "
                "replace it by a new one. Nothing was pushed"
            )


def _findings(path: Path, own: list[bytes]) -> Iterator[tuple[str, str]]:
    """Iterate over what looks like a secret: where in the file, and its kind."""
    if zipfile.is_zipfile(path):
        try:
            yield from _findings_in_archive(path, own)
        except (OSError, *DAMAGED_ARCHIVE):
            raise DatasetError(
                f"{path}: the archive is damaged or encrypted, so it cannot be searched for "
                "credentials. Build the dataset again. Nothing was pushed"
            ) from None
    else:
        with path.open("rb") as file:
            for line, kind in _scan(file, path.stat().st_size, own, exact=False):
                yield f", line {line},", kind


def _findings_in_archive(path: Path, own: list[bytes]) -> Iterator[tuple[str, str]]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            with archive.open(member) as file:
                for line, kind in _scan(file, member.file_size, own, exact=True):
                    yield f" ({member.filename}, line {line})", kind


def _scan(file: IO[bytes], size: int, own: list[bytes], exact: bool) -> Iterator[tuple[int, str]]:
    if size > _LARGEST_TEXT:
        if own and _holds(file, own):
            yield 1, "your own Kaggle credential"
        return
    content = file.read()
    for secret in own:
        if (at := content.find(secret)) >= 0:
            yield content.count(b"\n", 0, at) + 1, "your own Kaggle credential"
    for kind in _EXACT_KINDS if exact else _PATTERNS:
        if found := _PATTERNS[kind].search(content):
            yield content.count(b"\n", 0, found.start()) + 1, kind


def _holds(file: IO[bytes], own: list[bytes]) -> bool:
    """Whether a large file holds one of the secrets, even across two pieces that are read."""
    overlap = max(map(len, own)) - 1
    tail = b""
    while piece := file.read(_LARGEST_TEXT):
        if any(secret in tail + piece for secret in own):
            return True
        tail = piece[-overlap:]
    return False


def _password(proxy: str) -> str:
    """The password in the address of a proxy."""
    try:
        return urlsplit(proxy).password or ""
    except ValueError:
        return ""


def _is_file(text: str) -> bool:
    try:
        return bool(text) and Path(text).is_file()
    except OSError:
        return False


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _json(path: Path) -> dict[str, str]:
    try:
        content = json.loads(_text(path) or "{}")
    except (ValueError, RecursionError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {key: value for key, value in content.items() if isinstance(value, str)}
