"""How much of a body is read."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from starlette.types import Message, Receive, Scope, Send

from anomaly_platform.serving.http.bodies.doors import Door
from anomaly_platform.serving.http.bodies.reading import BoundedBody
from anomaly_platform.serving.http.bodies.refused import RefusedBytes
from anomaly_platform.serving.http.bodies.room import Room


class Client:
    """A client that sends its body in pieces and remembers how many were taken."""

    def __init__(self, pieces: list[bytes], headers: dict[str, str]) -> None:
        self.pieces = pieces
        self.taken = 0
        self.answers: list[Message] = []
        self.scope: Scope = {
            "type": "http",
            "method": "POST",
            "path": "/x",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }

    async def receive(self) -> Message:
        if self.taken == len(self.pieces):
            return {"type": "http.disconnect"}
        self.taken += 1
        more = self.taken < len(self.pieces)
        return {"type": "http.request", "body": self.pieces[self.taken - 1], "more_body": more}

    async def send(self, message: Message) -> None:
        self.answers.append(message)

    @property
    def status(self) -> int | None:
        return self.answers[0]["status"] if self.answers else None


@dataclass
class OneDoor:
    """One door for all, without a key."""

    door: Door

    def find(self, scope: Scope) -> Door:
        return self.door


def bodies_after(client: Client, most_bytes: int) -> list[bytes]:
    """Return the bodies that reached the application."""
    seen = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        message = await receive()
        seen.append(message.get("body", b""))

    bounded = BoundedBody(
        app, OneDoor(Door("/x", most_bytes)), Room(2**30, 2**30), RefusedBytes(2**30, 2**30)
    )
    asyncio.run(bounded(client.scope, client.receive, client.send))
    return seen


def test_a_body_that_is_announced_too_large_is_not_read() -> None:
    client = Client([b"x" * 100_000] * 3, {"content-length": "300000"})
    assert bodies_after(client, 200_000) == []
    assert (client.status, client.taken) == (413, 0)
    assert (b"connection", b"close") in client.answers[0]["headers"]


def test_a_chunked_body_is_read_until_it_is_too_large() -> None:
    client = Client([b"x" * 10] * 1_000, {"transfer-encoding": "chunked"})
    assert bodies_after(client, 25) == []
    assert (client.status, client.taken) == (413, 3)


def test_a_body_within_the_limit_arrives_whole() -> None:
    client = Client([b'{"a":', b"1", b"}"], {"transfer-encoding": "chunked"})
    assert bodies_after(client, 7) == [b'{"a":1}']
    assert client.status is None


def test_a_deep_document_is_refused_before_it_is_parsed() -> None:
    client = Client([b"[" * 33 + b"]" * 33], {"content-length": "66"})
    assert bodies_after(client, 100) == []
    assert client.status == 422


def test_a_beginning_that_is_wrong_is_enough() -> None:
    client = Client([b"[" * 33, *[b"[" * 10] * 100], {"transfer-encoding": "chunked"})
    assert bodies_after(client, 10_000) == []
    assert (client.status, client.taken) == (422, 1)


def test_a_client_that_goes_away_reaches_nothing() -> None:
    client = Client([], {"content-length": "5"})
    assert bodies_after(client, 100) == []
    assert client.answers == []
