"""The demo's wheels, from an index on this machine that breaks off."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from devkit.demo.sources import download
from devkit.errors import ToolError
from tests.made.wheels import make_wheel

NAMES = ("histolytics", "stardist")


class Index(ThreadingHTTPServer):
    """An index of two packages. `breaks` says after how many bytes answers of wheels end."""

    def __init__(self, wheels: dict[str, Path]) -> None:
        super().__init__(("127.0.0.1", 0), Page)
        self.wheels = wheels
        self.breaks: dict[str, list[int]] = {}
        self.asked: list[tuple[str, str]] = []


class Page(BaseHTTPRequestHandler):
    server: Index

    def do_GET(self) -> None:
        place = urlsplit(self.path).path.strip("/").split("/")[-1]
        if place in self.server.wheels:
            path = self.server.wheels[place]
            self._send(f'<a href="/{path.name}">{path.name}</a>'.encode(), "text/html", "")
            return
        name = place.partition("-")[0]
        asked = self.headers.get("Range", "")
        self.server.asked.append((name, asked))
        self._send(self.server.wheels[name].read_bytes(), "application/octet-stream", asked)

    def _send(self, content: bytes, kind: str, asked: str) -> None:
        start = int(asked[6:].partition("-")[0]) if asked else 0
        name = urlsplit(self.path).path.strip("/").partition("-")[0]
        after = self.server.breaks.get(name, []) or [len(content)]
        self.send_response(206 if asked else 200)
        self.send_header("Content-Type", kind)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : start + after.pop(0)])
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    wheels = {}
    for name in NAMES:
        files = {f"{name}/picture.bin": bytes(range(256)) * 2000}
        wheels[name] = make_wheel(tmp_path / "served", name, files=files)
    with Index(wheels) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for variable in ("PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX", "PIP_FIND_LINKS"):
            monkeypatch.delenv(variable, raising=False)
        monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
        monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield server
        server.shutdown()


def pins(tmp_path: Path, index: Index) -> Path:
    path = tmp_path / "pins.txt"
    lines = [
        f"{name}==1.0 --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}"
        for name, wheel in index.wheels.items()
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_wheel_that_broke_off_goes_on_where_it_was(tmp_path: Path, index: Index) -> None:
    """pip asks for the rest alone. The hash of the whole is checked."""
    index.breaks["histolytics"] = [2000]
    found = download(tmp_path / "downloads", pins(tmp_path, index))
    assert [path.read_bytes() for path in found] == [
        index.wheels[name].read_bytes() for name in NAMES
    ]
    ranges = [asked for name, asked in index.asked if name == "histolytics"]
    assert ranges == ["", "bytes=2000-"]


def test_a_wheel_that_came_is_kept_if_the_next_one_does_not(tmp_path: Path, index: Index) -> None:
    """The same command fetches the other one alone."""
    requirements, stardist = pins(tmp_path, index), index.wheels.pop("stardist")
    with pytest.raises(ToolError, match="could not be downloaded"):
        download(tmp_path / "downloads", requirements)
    index.wheels["stardist"] = stardist
    index.asked.clear()
    assert len(download(tmp_path / "downloads", requirements)) == 2
    assert [name for name, _ in index.asked] == ["stardist"]
