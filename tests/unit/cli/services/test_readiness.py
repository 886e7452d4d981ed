"""Who watches `anomaly up` hears of each service when it answers, and of those that do not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from anomaly_platform.cli.services.readiness import (
    Awaited,
    base_url,
    probed_url,
    tell_as_they_answer,
)


class Slow(BaseHTTPRequestHandler):
    """Ready at the third question, as a service that is still loading."""

    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        self.send_response(200 if type(self).asked > 2 else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    Slow.asked = 0
    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_what_answers_is_ready_and_what_does_not_is_named_with_its_log(url: str) -> None:
    said: list[str] = []
    slow = Awaited("API", "http://here/docs", url, "api.log")
    assert tell_as_they_answer([slow], said.append, patience_s=60) == []
    assert [" ".join(line.split()) for line in said] == ["API http://here/docs (ready)"]
    assert Slow.asked == 3
    gone = Awaited("Dagster UI", "http://there", "http://127.0.0.1:1/", "webserver.log")
    assert tell_as_they_answer([gone], said.append, patience_s=0.1) == [gone]
    assert "does not answer yet" in said[-1]
    assert "webserver.log" in said[-1]


def test_nobody_is_told_while_everything_stops(url: str) -> None:
    said: list[str] = []
    api = Awaited("API", "", url, "")
    tell_as_they_answer([api], said.append, patience_s=60, stopping=lambda: True)
    assert said == []


@pytest.mark.parametrize(
    ("host", "shown", "asked"),
    [
        ("192.0.2.7", "http://192.0.2.7:80", "http://192.0.2.7:80"),
        ("0.0.0.0", "http://0.0.0.0:80", "http://127.0.0.1:80"),
        ("::", "http://[::]:80", "http://[::1]:80"),
        ("2001:db8::7", "http://[2001:db8::7]:80", "http://[2001:db8::7]:80"),
    ],
)
def test_an_address_is_told_and_asked_as_a_url(host: str, shown: str, asked: str) -> None:
    assert base_url(host, 80) == shown
    assert probed_url(host, 80) == asked
