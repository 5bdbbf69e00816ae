"""Kaggle on a loopback port, for the real client. It keeps state and can be told to misbehave.

The client reaches it as `http_proxy`, with whole addresses. A request for another host than
`localhost` is refused and noted in `strangers`.
"""

import hashlib
import json
import re
import sys
import threading
from collections import defaultdict
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tests.made.kaggle_service import KaggleService, Refusal

HangUp = type("HangUp", (Exception,), {})
Misbehaviour = Callable[[Callable[[], Any]], Any]


class KaggleServer:
    """The server. `with KaggleServer() as server` runs it.

    Attributes
    ----------
    service : KaggleService
        The state.
    calls : list of str
        The names of the calls that were made.
    bodies : dict
        What was sent with them, by name.
    uploaded : list of str
        The uploads that arrived: the file's name, and the range of bytes if it was resumed.
    downloaded : list of str
        The files that were sent: their names, and the range of bytes if they were resumed.
    strangers : list of str
        The requests for other hosts.
    """

    def __init__(self) -> None:
        self.service = KaggleService()
        self.calls: list[str] = []
        self.bodies: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.uploaded: list[str] = []
        self.downloaded: list[str] = []
        self.strangers: list[str] = []
        self._misbehaviours: dict[str, list[Misbehaviour]] = defaultdict(list)
        self._stopping = threading.Event()
        self._lock = threading.RLock()
        handler = type("Handler", (_Handler,), {"kaggle": self})
        self._http = _Server(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True

    def __enter__(self) -> "KaggleServer":
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._http.shutdown()
        self._http.server_close()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    def count(self, call: str) -> int:
        return self.calls.count(call)

    # ---- to be told to misbehave: each for the next `times` calls

    def fail(self, call: str, status: int, message: str = "", times: int = 1) -> None:
        """Answer with an HTTP error."""

        def refuse(_: Callable[[], Any]) -> Any:
            raise Refusal(status, message)

        self._misbehaviours[call] += [refuse] * times

    def answer(self, call: str, reply: Any, times: int = 1) -> None:
        """Answer with this, and do nothing. Bytes are sent as they are, all else as JSON."""
        self._misbehaviours[call] += [lambda _: reply] * times

    def lose_answer(self, call: str, times: int = 1) -> None:
        """Do what is asked, then hang up without an answer."""

        def lose(work: Callable[[], Any]) -> Any:
            work()
            raise HangUp

        self._misbehaviours[call] += [lose] * times

    def hang(self, call: str, times: int = 1) -> None:
        """Do not answer at all."""

        def wait(_: Callable[[], Any]) -> Any:
            self._stopping.wait()
            raise HangUp

        self._misbehaviours[call] += [wait] * times

    def call_back(self, call: str, function: Callable[[], None]) -> None:
        """Call `function` when the call arrives, then answer as usual."""

        def before(work: Callable[[], Any]) -> Any:
            function()
            return work()

        self._misbehaviours[call].append(before)

    def cut_upload(self, after: int, times: int = 1) -> None:
        """Take `after` more bytes of an upload, then answer 503."""

        def cut(_: Callable[[], Any]) -> Any:
            raise _Cut(after)

        self._misbehaviours["PUT"] += [cut] * times

    def cut_download(self, after: int, times: int = 1) -> None:
        """Send `after` more bytes of a file, then hang up."""

        def cut(_: Callable[[], Any]) -> Any:
            raise _Cut(after)

        self._misbehaviours["GET"] += [cut] * times

    def perform(self, call: str, work: Callable[[], Any]) -> Any:
        with self._lock:
            self.calls.append(call)
            planned = self._misbehaviours[call]
            misbehave = planned.pop(0) if planned else None
        if misbehave is not None:
            return misbehave(work)
        with self._lock:
            return work()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # a client that hung up is no error
            super().handle_error(request, client_address)


class _Cut(Exception):  # noqa: N818, a way to behave rather than an error
    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after


class _Handler(BaseHTTPRequestHandler):
    kaggle: KaggleServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_CONNECT(self) -> None:
        self.kaggle.strangers.append(self.path)
        self.send_error(502)
        self.close_connection = True

    def do_POST(self) -> None:
        self._handle(self._api)

    def do_PUT(self) -> None:
        self._handle(self._upload)

    def do_GET(self) -> None:
        self._handle(self._get)

    def _handle(self, work: Callable[[str, bytes], None]) -> None:
        address = urlsplit(self.path)
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if address.netloc != "localhost":
            self.kaggle.strangers.append(self.path)
            self._send(502, b"", {})
            return
        try:
            work(address.path, content)
        except Refusal as refusal:
            self._send_json({"code": refusal.status, "message": refusal.message}, refusal.status)
        except HangUp:
            self.close_connection = True

    def _api(self, path: str, content: bytes) -> None:
        call = path.rpartition("/")[2]
        body = json.loads(content or b"{}")
        kaggle = self.kaggle
        kaggle.bodies[call].append(body)
        method = getattr(kaggle.service, re.sub(r"(?<!^)(?=[A-Z])", "_", call).lower())

        def work() -> Any:
            known = kaggle.service.is_known(self.headers.get("Authorization", ""))
            if not known and call != "IntrospectToken":
                raise Refusal(401, "Unauthorized access")
            return method(body)

        reply = kaggle.perform(call, work)
        if isinstance(reply, bytes):
            self._send(200, reply, {"Content-Type": "application/json"})
        elif isinstance(reply, str):
            self._send(302, b"", {"Location": reply})
        else:
            self._send_json(reply)

    def _upload(self, path: str, content: bytes) -> None:
        kaggle = self.kaggle
        token = path.rpartition("/")[2]
        asked = self.headers.get("Content-Range", "")
        if token not in kaggle.service.blobs:
            raise Refusal(404, "no such upload")
        name, received, size = kaggle.service.blobs[token]
        if asked.startswith("bytes */"):
            kaggle.calls.append("PUT?")
            if len(received) == int(asked[8:]):
                self._send(200, b"", {})
            else:
                headers = {"Range": f"bytes=0-{len(received) - 1}"} if received else {}
                self._send(308, b"", headers)
            return
        start = int(asked[6:].partition("-")[0]) if asked else 0
        assert start in (0, len(received)), f"{name}: resumed at {start} of {len(received)}"

        def take(count: int) -> None:
            received[start:] = content[:count]
            kaggle.service.blobs[token] = (name, received, size)

        try:
            kaggle.perform("PUT", lambda: take(len(content)))
        except _Cut as cut:
            take(cut.after)
            raise Refusal(503, "try again") from None
        kaggle.uploaded.append(f"{name} {asked}".strip())
        self._send(200, b"", {})

    def _get(self, path: str, _: bytes) -> None:
        service = self.kaggle.service
        if path.startswith("/files/"):
            self._send_file(path.removeprefix("/files/"))
            return
        ref = path.removeprefix("/api/v1/kernels/logs/stream/")
        events = self.kaggle.perform("stream", lambda: service.log_events(ref))
        lines = [f"data: {json.dumps(event)}\n\n" for event in events]
        feed = "".join([*lines, "data: END_OF_LOG\n\n"]).encode()
        self._send(200, feed, {"Content-Type": "text/event-stream"})

    def _send_file(self, name: str) -> None:
        """Send a file, or what the client lacks of it. It is told which file that is."""
        content = self.kaggle.service.file(name)
        asked = self.headers.get("Range", "")
        start = int(asked[6:].partition("-")[0]) if asked else 0
        self.kaggle.downloaded.append(f"{name} {asked}".strip())
        sent = content[start:]
        try:
            sent = self.kaggle.perform("GET", lambda: sent)
            after = len(sent)
        except _Cut as cut:
            after = cut.after
        self.send_response(206 if asked else 200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent[:after])
        self.close_connection = after < len(sent)

    def _send_json(self, content: Any, status: int = 200) -> None:
        self._send(status, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
