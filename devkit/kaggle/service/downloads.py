"""Files from addresses that Kaggle gives: whole, or not at all, and continued if they broke off."""

import contextlib
from pathlib import Path

import requests

from devkit.errors import KaggleError

__all__ = ["fetch_file"]

_PIECE = 1 << 20
_PARTIAL_CONTENT, _NOT_SATISFIABLE = 206, 416


def fetch_file(url: str, path: Path, timeout: float) -> None:
    """Fetch a file. What an earlier call has fetched of it is not fetched again.

    The beginning lies beside `path` until the file is whole. It is continued only if the server
    says, by its ETag, that the file is still the same.

    Parameters
    ----------
    url
        Its address, which may be another one each time.
    path
        Where it goes.
    timeout
        Seconds until a silent connection counts as broken.

    Raises
    ------
    requests.RequestException
        It broke off, or the server refused.
    KaggleError
        The server sent another part than was asked for.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part, tag = path.with_name(f".{path.name}.part"), path.with_name(f".{path.name}.etag")
    known, have = _read(tag), part.stat().st_size if part.is_file() else 0
    headers = {"Accept-Encoding": "identity"}
    if have and known:
        headers |= {"Range": f"bytes={have}-", "If-Range": known}
    with requests.get(url, stream=True, timeout=timeout, headers=headers) as response:
        if response.status_code == _NOT_SATISFIABLE:  # it is another file now
            part.unlink()
            raise requests.exceptions.ChunkedEncodingError(f"{path.name} has changed meanwhile")
        response.raise_for_status()
        goes_on = response.status_code == _PARTIAL_CONTENT
        begin = f"bytes {have}-"
        if goes_on and not response.headers.get("Content-Range", begin).startswith(begin):
            raise KaggleError(
                f"{path.name}: Kaggle sent another part than was asked for. Try again"
            )
        if not goes_on:  # or a later call would take its bytes for those of the new tag
            part.unlink(missing_ok=True)
        tag.write_text(response.headers.get("ETag", ""), encoding="utf-8")
        left = response.headers.get("Content-Length", "")
        with part.open("ab" if goes_on else "wb") as file:
            for piece in response.iter_content(_PIECE):
                file.write(piece)
        wanted = int(left) + (have if goes_on else 0) if left.isdecimal() else None
    if wanted is not None and part.stat().st_size != wanted:
        raise requests.exceptions.ChunkedEncodingError(
            f"{part.stat().st_size} of {wanted} bytes of {path.name} came"
        )
    part.replace(path)
    tag.unlink()


def _read(tag: Path) -> str:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return tag.read_text(encoding="utf-8")
    return ""
