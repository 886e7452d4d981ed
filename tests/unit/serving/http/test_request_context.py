"""An error before there is a part of the answer is answered as one, whatever head was meant."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from anomaly_platform.serving.http import request_context
from anomaly_platform.serving.http.request_context import RequestContext


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Statuses that went into the metrics."""
    statuses: list[int] = []
    monkeypatch.setattr(
        request_context,
        "count_request",
        lambda _method, _route, status, _seconds, **_: statuses.append(status),
    )
    return statuses


def answered(*messages: Message) -> list[Message]:
    """Return what a server is sent by an application that sends something and fails."""
    sent: list[Message] = []

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)
        raise ValueError

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Any = {"type": "http", "method": "GET", "path": "/", "headers": [], "app": None}
    try:
        asyncio.run(RequestContext(app)(scope, receive, send))
    except ValueError:
        sent.append({"type": "cut off"})
    return sent


def start() -> Message:
    return {"type": "http.response.start", "status": 200, "headers": []}


@pytest.mark.parametrize("heads", [0, 1, 2])
def test_before_a_part_of_the_body_it_is_a_problem_document(heads: int, counted: list[int]) -> None:
    head, body = answered(*(start() for _ in range(heads)))
    assert (head["status"], counted) == (500, [500])
    assert (b"content-type", b"application/problem+json") in head["headers"]
    assert {b"x-request-id", b"x-content-type-options"} <= {name for name, _ in head["headers"]}
    assert b"error in the service" in body["body"]


def test_after_a_part_of_the_body_the_answer_is_cut_off(counted: list[int]) -> None:
    part = {"type": "http.response.body", "body": b"a", "more_body": True}
    head, *rest = answered(start(), part)
    assert (head["status"], counted) == (200, [200])
    assert rest == [part, {"type": "cut off"}]
