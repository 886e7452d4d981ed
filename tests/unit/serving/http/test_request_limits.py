"""How deep a document is nested, without parsing it, and how much of a body is read."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message, Receive, Scope, Send

from anomaly_platform.serving.http.request_limits import BoundedBody, is_deeper_than

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text('[]{}"\\,:a\u00e9'),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text('[{"\\'), inner, max_size=3)
    ),
    max_leaves=30,
)


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


@given(_JSON, st.integers(0, 8), st.booleans())
def test_depth_is_what_the_parsed_document_has(value: Any, levels: int, ascii_only: bool) -> None:
    document = json.dumps(value, ensure_ascii=ascii_only).encode()
    assert is_deeper_than(document, levels) == (depth(value) > levels)


def test_what_is_never_closed_counts_as_deep() -> None:
    assert is_deeper_than(b"[" * 100_000, 32)
    assert is_deeper_than(b'{"a":' * 1_000 + b"}" * 3, 32)
    assert not is_deeper_than(b'"' + b"[" * 1_000 + b'"', 32)


@given(st.binary(max_size=200))
def test_any_bytes_get_an_answer(document: bytes) -> None:
    assert is_deeper_than(document, 3) in (True, False)


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


def bodies_after(client: Client, most_bytes: int) -> list[bytes]:
    """Return the bodies that reached the application."""
    seen = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        message = await receive()
        seen.append(message.get("body", b""))

    asyncio.run(BoundedBody(app, most_bytes)(client.scope, client.receive, client.send))
    return seen


def test_a_body_that_is_announced_too_large_is_not_read() -> None:
    client = Client([b"x" * 10] * 3, {"content-length": "30"})
    assert bodies_after(client, 20) == []
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


def test_a_client_that_goes_away_reaches_nothing() -> None:
    client = Client([], {"content-length": "5"})
    assert bodies_after(client, 100) == []
    assert client.answers == []
