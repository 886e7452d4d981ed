"""What is counted of bodies that were sent for nothing, and how long it stands."""

from __future__ import annotations

import asyncio
import math
import time
from types import SimpleNamespace

import pytest
from starlette.types import Message, Receive, Scope, Send

from anomaly_platform.serving.http.bodies import reading
from anomaly_platform.serving.http.bodies.doors import Door
from anomaly_platform.serving.http.bodies.reading import BoundedBody
from anomaly_platform.serving.http.bodies.refused import RefusedBytes
from anomaly_platform.serving.http.bodies.room import Room

MIB = 2**20


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_a_key_waits_for_what_stands_beyond_the_budget(clock: Clock) -> None:
    refused = RefusedBytes(64 * MIB, 16 * MIB)
    for _ in range(4):
        refused.count("a", 16 * MIB)
    assert refused.wait_s("a") == 0
    refused.count("a", 16 * MIB)
    assert refused.wait_s("a") == pytest.approx(15)
    assert refused.wait_s("b") == 0
    clock.now += 10
    assert refused.wait_s("a") == pytest.approx(5)
    clock.now += 5
    assert refused.wait_s("a") == pytest.approx(0, abs=1e-6)


def test_a_key_waits_for_a_minute_at_most(clock: Clock) -> None:
    refused = RefusedBytes(64 * MIB, 16 * MIB)
    for _ in range(1_000):
        refused.count("a", 16 * MIB)
    assert refused.wait_s("a") == pytest.approx(60)
    clock.now += 120
    refused.count("a", MIB)
    assert refused.wait_s("a") == 0


def test_one_enormous_body_is_one_mistake(clock: Clock) -> None:
    refused = RefusedBytes(64 * MIB, 16 * MIB)
    refused.count("a", 1e18)
    assert refused.wait_s("a") == 0


@pytest.mark.usefixtures("clock")
def test_without_a_budget_nobody_waits() -> None:
    refused = RefusedBytes(0, MIB)
    refused.count("a", 1e9)
    assert refused.wait_s("a") == 0


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    monkeypatch.setattr(reading, "HELD_BACK_S", 0.0)
    return Asked()


class Asked:
    """A route that answers as it is told, behind the limits; a MiB may be refused."""

    def __init__(self) -> None:
        self.status = 200
        self.taken = 0
        doors = SimpleNamespace(find=lambda _: Door("/x", MIB))
        self.bounded = BoundedBody(self.route, doors, Room(2**30, 2**30), RefusedBytes(MIB, MIB))

    async def route(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status, "headers": []})

    def send(self, body: bytes, announced: int | None = None, *, cut: bool = False) -> Message:
        """Send a body; return how the answer begins."""
        answers: list[Message] = []
        length = (b"transfer-encoding", b"chunked")
        if announced is not None:
            length = (b"content-length", b"%d" % announced)

        async def receive() -> Message:
            self.taken += 1
            if cut and self.taken > before + 1:
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": body, "more_body": cut}

        async def send(message: Message) -> None:
            answers.append(message)

        before = self.taken
        caller = SimpleNamespace(key_id="a")
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/x",
            "headers": [length],
            "state": {"caller": caller},
        }
        asyncio.run(self.bounded(scope, receive, send))
        return answers[0] if answers else {"status": None}


GOOD = b'{"a": "' + b"x" * 60_000 + b'", "b": "' + b"x" * 60_000 + b'"}'
BAD = b"[" * 800_000


@pytest.mark.parametrize("announced", [len(BAD), None])
def test_bodies_of_a_key_that_sends_for_nothing_are_not_read(
    asked: Asked, announced: int | None
) -> None:
    assert [asked.send(BAD, announced)["status"] for _ in range(2)] == [422, 422]
    taken = asked.taken
    refused = asked.send(BAD, announced)
    # Of a body that does not say how long it is, a first part shows that it is large.
    assert (refused["status"], asked.taken) == (429, taken + (announced is None))
    headers = dict(refused["headers"])
    assert headers[b"connection"] == b"close"
    # 1.6 million bytes were refused, of 1 MiB that is forgiven in a minute.
    assert int(headers[b"retry-after"]) == math.ceil((2 * len(BAD) / MIB - 1) * 60)
    # What is small takes little, and gets through, whether it says so or not.
    assert asked.send(b"{}", 2)["status"] == 200
    assert asked.send(b"{}", None)["status"] == 200


@pytest.mark.parametrize("status", [200, 202, 409, 429, 503])
def test_bodies_that_were_not_wrong_do_not_count(asked: Asked, status: int) -> None:
    asked.status = status
    assert {asked.send(GOOD, len(GOOD))["status"] for _ in range(20)} == {status}


@pytest.mark.parametrize("status", [400, 404, 422])
def test_bodies_that_a_route_refuses_count(asked: Asked, status: int) -> None:
    asked.status = status
    statuses = [asked.send(GOOD, len(GOOD))["status"] for _ in range(12)]
    assert statuses[0] == status
    assert statuses[-1] == 429


def test_bodies_that_are_announced_too_large_or_break_off_count(asked: Asked) -> None:
    too_large = [asked.send(b"", 2 * MIB)["status"] for _ in range(3)]
    assert too_large == [413, 413, 429]
    cut = Asked()
    for _ in range(20):
        cut.send(GOOD, MIB, cut=True)
    assert cut.send(GOOD, len(GOOD))["status"] == 429


def test_small_bodies_never_count(asked: Asked) -> None:
    asked.status = 422
    small = b'{"a": "' + b"x" * 60_000 + b'"}'
    assert {asked.send(small, len(small))["status"] for _ in range(60)} == {422}
