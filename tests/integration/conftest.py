"""Real servers for what the platform talks to: they fail, hang and lie on demand."""

from __future__ import annotations

import datetime as dt
import json
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

if TYPE_CHECKING:
    from anomaly_platform.platform import Platform
    from anomaly_platform.settings import Settings


@pytest.fixture(scope="session", autouse=True)
def _files_are_whole_when_they_land() -> Iterator[None]:
    """Take files in without waiting whether they hold still: tests write them first, then run."""
    from anomaly_platform.storage.lake import landing

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(landing, "SETTLE_SECONDS", 0.01)
        yield


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that no other test session closes to other users, as pytest does with its own."""
    with tempfile.TemporaryDirectory(prefix="anomaly-pg-") as name:
        yield Path(name)


@pytest.fixture
def platform(settings: Settings) -> Iterator[Platform]:
    """The built-in streams over an empty, migrated database."""
    from anomaly_platform.platform import Platform

    with closing(Platform(settings)) as opened:
        yield opened


@dataclass(frozen=True)
class Request:
    """A request as the server got it."""

    method: str
    raw_path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def parts(self) -> list[str]:
        """The parts of the path, a slash within one kept apart from those between them."""
        return [unquote(part) for part in self.raw_path.strip("/").split("/")]

    @property
    def path(self) -> str:
        return unquote(self.raw_path)

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """What to say; `hang` says nothing until the server is closed, `cut` drops the connection."""

    status: int = 200
    body: bytes | Any = b""
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False
    cut: bool = False


class Receiver:
    """An HTTP server on this machine that remembers what it was sent."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.behave: Callable[[Request], Answer] = lambda _: Answer(204)
        self.closing = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                parts = urlsplit(self.path)
                request = Request(
                    self.command,
                    parts.path,
                    {name: values[0] for name, values in parse_qs(parts.query).items()},
                    {name.lower(): value for name, value in self.headers.items()},
                    self.rfile.read(length),
                )
                receiver.requests.append(request)
                answer = receiver.behave(request)
                if answer.hang:
                    receiver.closing.wait(60)
                if answer.hang or answer.cut:
                    self.close_connection = True
                    return
                body = answer.body
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                if answer.status != 204:
                    self.send_header("content-length", str(len(content)))
                self.end_headers()
                if answer.status != 204:
                    self.wfile.write(content)

            do_GET = do_POST = do_PATCH = _serve  # noqa: N815 - the interface of http.server

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_: object) -> None:
                """A client that gave up is no news."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def wrap(self, context: ssl.SSLContext) -> None:
        """Speak TLS from now on."""
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def new_receiver() -> Iterator[Callable[[], Receiver]]:
    """Start as many servers as a test asks for."""
    made: list[Receiver] = []

    def make() -> Receiver:
        made.append(Receiver())
        return made[-1]

    yield make
    for receiver in made:
        receiver.close()


@pytest.fixture
def answer() -> type[Answer]:
    """Make an answer of a server."""
    return Answer


@pytest.fixture
def receiver(new_receiver: Callable[[], Receiver]) -> Receiver:
    return new_receiver()


class FakeEmsCore(Receiver):
    """EMS Core as far as the platform speaks to it, with faults on demand.

    Attributes
    ----------
    faults : list of Answer
        Given one after the other in place of what would be right.
    """

    def __init__(self) -> None:
        super().__init__()
        self.assets = [{"id": "host-1", "name": "Host 1", "type": "server", "status": "up"}]
        self.metrics: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.alerts: list[dict[str, Any]] = []
        self.faults: list[Answer] = []
        self.token: str | None = None
        self._by_key: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()
        self.behave = self._behave

    def _behave(self, request: Request) -> Answer:
        with self._lock:
            if self.faults:
                return self.faults.pop(0)
            if self.token and request.headers.get("authorization") != f"Bearer {self.token}":
                return Answer(401, {"message": "who are you"})
            if request.method == "GET":
                return self._read(request)
            return self._write(request)

    def _read(self, request: Request) -> Answer:
        parts = request.parts
        if parts == ["health"]:
            return Answer(200, {"status": "ok"})
        if parts[0] == "assets" and len(parts) == 2:
            found = [asset for asset in self.assets if asset["id"] == parts[1]]
            return Answer(200, found[0]) if found else Answer(404, {"message": "no such asset"})
        rows = {"assets": self.assets, "metrics": self.metrics, "events": self.events}.get(parts[0])
        if rows is None:
            return Answer(404, {"message": "no such route"})
        query = request.query
        chosen = [
            row
            for row in rows
            if all(row.get(n) == query[n] for n in ("assetId", "metricName") if n in query)
            and ("from" not in query or _in_span(row, query["from"], query["to"]))
        ]
        first = int(query.get("offset", 0))
        return Answer(200, {"data": chosen[first : first + int(query.get("limit", 100))]})

    def _write(self, request: Request) -> Answer:
        key = request.headers.get("idempotency-key")
        if key is not None and key in self._by_key:
            return Answer(200, self._by_key[key])
        body = request.json()
        path = request.path.strip("/")
        if path == "metrics/batch":
            for row in body["metrics"]:
                self.metrics.append({"id": str(len(self.metrics) + 1), **row})
            return Answer(201, {"created": len(body["metrics"])})
        rows = {"metrics": self.metrics, "events": self.events, "alerts": self.alerts}[path]
        row = {"id": len(rows) + 1, **body}
        rows.append(row)
        if key is not None:
            self._by_key[key] = row
        return Answer(201, row)


def _in_span(row: dict[str, Any], since: str, until: str) -> bool:
    try:
        moment = dt.datetime.fromisoformat(str(row["timestamp"]))
    except ValueError:
        # What cannot be read is given out with everything.
        return True
    return dt.datetime.fromisoformat(since) <= moment < dt.datetime.fromisoformat(until)


@pytest.fixture
def fake_ems() -> Iterator[FakeEmsCore]:
    server = FakeEmsCore()
    yield server
    server.close()
