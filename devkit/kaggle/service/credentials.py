"""Which credentials of Kaggle this machine has, in the order in which the official client looks."""

import os
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from devkit.kaggle.service.secrets import credential_folders

__all__ = ["credential_problem", "found_credentials"]

_TOKEN = "KAGGLE_API_TOKEN"


class _Key(BaseModel):
    model_config = ConfigDict(strict=True)

    username: str
    key: str


def found_credentials() -> list[str]:
    """List the variables and files that may sign in, the one that counts first."""
    return [name for name, _ in _sources()]


def credential_problem() -> str:
    """Say why the credentials that count cannot be used, before Kaggle is asked. Or nothing."""
    name, path = next(_sources(), ("", None))
    if path is None:
        return ""
    if path.is_dir():
        return f"{name}: found a folder, wanted a file with credentials. Remove it"
    if not path.exists():
        return f"{name}: found a path, and there is no such file. Correct or unset it"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        return f"{name}: it cannot be read ({error.strerror}). Make it readable"
    except UnicodeDecodeError:
        return f"{name}: it is no text. Put a token from kaggle.com/settings/api into it"
    if path.name == "kaggle.json":
        try:
            _Key.model_validate_json(text)
        except ValidationError:
            return (
                f"{name}: found no username and key in it. Fetch the file again at "
                "kaggle.com/settings, or remove it"
            )
    return ""


def _sources() -> Iterator[tuple[str, Path | None]]:
    """Each variable or file, and the file behind it."""
    folders = credential_folders(os.environ)
    token = os.environ.get(_TOKEN, "")
    if token:
        yield _TOKEN, Path(token) if os.sep in token else None
    yield from _files(folders, "access_token", "access_token.txt")
    if os.environ.get("KAGGLE_USERNAME") and os.environ.get("KAGGLE_KEY"):
        yield "KAGGLE_KEY", None
    yield from _files(folders, "kaggle.json")
    yield from _files(folders, "credentials.json")


def _files(folders: list[Path], *names: str) -> Iterator[tuple[str, Path]]:
    for path in (folder / name for folder in folders for name in names):
        if os.path.lexists(path):
            yield str(path), path
