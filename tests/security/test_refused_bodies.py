"""A key that sends large bodies for nothing, again and again, is made to wait, and it alone."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from tests.builders.services import Service, running_service

pytestmark = pytest.mark.integration

MIB = 2**20
DETECT = "/api/v1/barcode/detect"
READING = {"device_id": "x", "metric_name": "y", "value": 1.0}
ODD = b'{"data":[' + (b'{"location_id":"' + b"x" * 900 + b'"},') * 1_000 + b"7]}"


@pytest.fixture(scope="module")
def service(
    module_database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """One worker, which counts all that is refused."""
    with running_service(
        tmp_path_factory.mktemp("service"),
        module_database_url,
        api_workers=1,
        api_max_body_mb=1,
        api_max_refused_mb=1,
    ) as found:
        yield found


@pytest.fixture(scope="module")
def wasteful(service: Service) -> str:
    """A key that has sent 2.7 MB for nothing, of 1 MiB that is forgiven in a minute."""
    key = service.new_key("ml:read", per_minute=0)
    statuses = [post(service, key, ODD).status_code for _ in range(3)]
    assert statuses[:2] == [422, 422]
    return key


def post(service: Service, key: str, body: bytes) -> httpx.Response:
    headers = {"X-API-Key": key, "Content-Type": "application/json"}
    return httpx.post(service.url + DETECT, content=body, headers=headers, timeout=60)


class Held:
    """A large body that was announced, and of which no byte is sent."""

    def __init__(self, service: Service, key: str) -> None:
        where = urlsplit(service.url)
        self.began = time.monotonic()
        self._line = socket.create_connection((where.hostname, where.port), timeout=20)
        head = f"POST {DETECT} HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n"
        self._line.sendall(f"{head}Content-Length: 1000000\r\n\r\n".encode())

    def answer(self) -> tuple[float, bytes]:
        """Return after how many seconds the connection was closed, and all that came."""
        found = b""
        with self._line:
            while part := self._line.recv(65536):
                found += part
        return time.monotonic() - self.began, found


def test_its_next_body_is_refused_unread_after_a_while(service: Service, wasteful: str) -> None:
    took, answer = Held(service, wasteful).answer()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 429")
    assert 1.0 <= took < 15
    fields = head.decode().lower()
    assert "connection: close" in fields
    assert 0 < int(fields.partition("retry-after: ")[2].split()[0]) <= 60
    assert "correct what it sends" in json.loads(body)["detail"]
    assert service.sample(wasteful, "anomaly_http_refused_total", reason="refused_bodies") >= 1


def test_many_wait_together_and_nobody_else_does(service: Service, wasteful: str) -> None:
    other = service.new_key("ml:read", per_minute=0)
    answers = []
    held = [Held(service, wasteful) for _ in range(100)]
    threads = [
        threading.Thread(target=lambda one=one: answers.append(one.answer())) for one in held
    ]
    for thread in threads:
        thread.start()
    assert post(service, other, ODD).status_code == 422
    with httpx.Client(base_url=service.url, headers={"X-API-Key": wasteful}) as client:
        assert client.get("/health/live").status_code == 200
        # What is small takes little: it gets through, whatever its key has sent.
        assert client.post("/api/v1/ml/predict", json=READING).status_code == 404
    for thread in threads:
        thread.join()
    assert {answer[:12] for _, answer in answers} == {b"HTTP/1.1 429"}
    # One after the other they would need a hundred seconds.
    assert max(took for took, _ in answers) < 30


def test_rows_that_are_wrong_among_others_lock_nobody_out(service: Service) -> None:
    """Only bodies of which nothing can be used count."""
    key = service.new_key("ml:write", per_minute=0)
    reading = {"device_id": "d", "metric_name": "m", "timestamp": "2026-01-09T10:00:00Z"}
    statuses, sent = [], 0
    for number in range(6):
        rows = [{**reading, "metric_name": f"{number}-{n}", "value": "?"} for n in range(2_000)]
        rows.append({**reading, "metric_name": f"good-{number}", "value": 1.0})
        body = json.dumps(rows).encode()
        sent += len(body)
        headers = {"X-API-Key": key, "Content-Type": "application/json"}
        url = service.url + "/api/v1/telemetry"
        answer = httpx.post(url, content=body, headers=headers, timeout=60)
        statuses.append(answer.status_code)
    assert sent > MIB
    assert statuses == [statuses[0]] * 6
    assert statuses[0] < 300, answer.text[:500]
