"""Files of any address: continued where they broke off, and never put together of two."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from devkit.kaggle.service.downloads import fetch_file

CONTENT = bytes(range(256)) * 20_000


class Server(ThreadingHTTPServer):
    """A server of one file, which breaks off where it is told to."""

    content = CONTENT
    takes_ranges = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.breaks: list[int] = []
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/weights.bin"


class Answer(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        content, asked = self.server.content, self.headers.get("Range", "")
        self.server.asked.append(asked)
        tag = f'"{hashlib.sha256(content).hexdigest()}"'
        goes_on = asked and self.server.takes_ranges and self.headers.get("If-Range") == tag
        start = int(asked[6:-1]) if goes_on else 0
        self.send_response(206 if goes_on else 200)
        if goes_on:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("ETag", tag)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        after = self.server.breaks.pop(0) if self.server.breaks else len(content)
        self.wfile.write(content[start : start + after])

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_a_file_that_broke_off_goes_on_where_it_was(server: Server, tmp_path: Path) -> None:
    """The second call asks for the rest alone, and nothing else is left in the folder."""
    path = tmp_path / "runs/weights.bin"
    server.breaks = [3_000_000]
    with pytest.raises(requests.RequestException):
        fetch_file(server.url, path, 20)
    assert not path.exists()
    fetch_file(server.url, path, 20)
    assert path.read_bytes() == CONTENT
    assert server.asked[0] == ""
    assert 0 < int(server.asked[1][6:-1]) <= 3_000_000
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_changed_meanwhile_is_fetched_anew(server: Server, tmp_path: Path) -> None:
    """The beginning of one is never put before the end of another."""
    server.breaks = [2_000_000]
    with pytest.raises(requests.RequestException):
        fetch_file(server.url, tmp_path / "a", 20)
    server.content = CONTENT[::-1]
    fetch_file(server.url, tmp_path / "a", 20)
    assert (tmp_path / "a").read_bytes() == CONTENT[::-1]


def test_a_beginning_never_gets_the_tag_of_another_file(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if the program is killed as soon as the new file's tag is written."""
    server.breaks = [2_000_000]
    with pytest.raises(requests.RequestException):
        fetch_file(server.url, tmp_path / "a", 20)
    server.content = CONTENT[::-1]
    opened = Path.open

    def interrupted(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.suffix == ".part":
            raise KeyboardInterrupt
        return opened(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch_file(server.url, tmp_path / "a", 20)
    monkeypatch.undo()
    fetch_file(server.url, tmp_path / "a", 20)
    assert (tmp_path / "a").read_bytes() == CONTENT[::-1]


def test_a_server_without_ranges_sends_it_all_again(server: Server, tmp_path: Path) -> None:
    """The file is whole then, too."""
    server.breaks, server.takes_ranges = [2_000_000], False
    with pytest.raises(requests.RequestException):
        fetch_file(server.url, tmp_path / "a", 20)
    fetch_file(server.url, tmp_path / "a", 20)
    assert (tmp_path / "a").read_bytes() == CONTENT
