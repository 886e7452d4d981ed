"""Answers in one piece are, byte for byte, what uvicorn sends in two."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from anomaly_platform.serving.http.whole_answers import in_one_piece


class _Wire(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


async def _streamed(scope: Scope, receive: Receive, send: Send) -> None:
    await StreamingResponse(iter([b"a", b"b"]))(scope, receive, send)


async def _answered(app: ASGIApp, method: str, keep_alive: bool) -> tuple[_Wire, int]:
    wire, completed = _Wire(), 0

    def complete() -> None:
        nonlocal completed
        completed += 1

    log = logging.getLogger("test")
    scope: Any = {"type": "http", "method": method, "headers": [], "path": "/"}
    cycle = RequestResponseCycle(
        *(scope, wire, FlowControl(wire), log, log, False, [(b"server", b"x")], asyncio.Event()),
        *(False, keep_alive, complete),
    )
    await cycle.run_asgi(app)  # type: ignore[arg-type]
    return wire, completed


def _compared(app: ASGIApp, method: str = "GET", *, keep_alive: bool = True) -> list[bytes]:
    """Return the writes of an answer that says the same either way."""
    theirs, completed = asyncio.run(_answered(app, method, keep_alive))
    ours, ours_completed = asyncio.run(_answered(in_one_piece(app), method, keep_alive))
    assert b"".join(ours.written) == b"".join(theirs.written)
    assert (ours.closed, ours_completed) == (theirs.closed, completed)
    return ours.written


def test_an_answer_that_is_whole_is_written_at_once() -> None:
    assert len(_compared(PlainTextResponse("said", headers={"X-Other": "thing"}))) == 1
    assert len(_compared(Response(b""))) == 1


@pytest.mark.parametrize("status", [200, 204, 304, 404])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_other_answers_are_as_uvicorn_sends_them(status: int, method: str) -> None:
    _compared(Response(b"" if status in (204, 304) else b"text", status_code=status), method)
    _compared(PlainTextResponse("said"), method, keep_alive=False)
    _compared(PlainTextResponse("said", headers={"Connection": "close"}), method)
    _compared(_streamed, method)


@pytest.mark.parametrize(
    "field",
    [
        (b"x-a", b"b\r\nset-cookie: c"),
        (b"x a", b"b"),
        (b"content-length", b"3"),
        (b"content-length", b"99"),
    ],
)
def test_what_uvicorn_refuses_is_not_sent(field: tuple[bytes, bytes]) -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        fields = [field] if field[0] == b"content-length" else [(b"content-length", b"4"), field]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": b"text"})

    assert b"set-cookie" not in b"".join(_compared(app))


def test_fields_may_be_lists_and_a_second_head_is_an_error() -> None:
    fields = [(b"content-length", b"4"), [b"x-a", b"b"]]

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": b"text"})

    async def two_heads(_scope: Scope, _receive: Receive, send: Send) -> None:
        for _ in range(2):
            await send({"type": "http.response.start", "status": 200, "headers": fields})

    assert len(_compared(app)) == 1
    _compared(two_heads)
