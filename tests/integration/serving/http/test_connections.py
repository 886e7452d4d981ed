"""What a client gets that sends no whole request, or one with a head that is too large."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from starlette.types import Message, Receive, Scope, Send

from anomaly_platform.serving.http import connections
from anomaly_platform.serving.http.connections import MOST_FIELDS, MOST_HEAD_BYTES, BoundedHttp

pytestmark = pytest.mark.integration

#: Long enough for a client to send a few parts well apart, in the time for one of them.
SHORT_S = 0.6
GET = b"GET / HTTP/1.1\r\nHost: x\r\n"
#: More than the buffers of two sockets hold.
LARGE = 32 * 2**20
PATIENCE_S = 20


async def length_of_body(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the number of bytes; wait first where the path says so."""
    import asyncio

    length, more = 0, True
    while more:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            return
        length += len(message.get("body", b""))
        more = message.get("more_body", False)
    if scope["path"] == "/slow":
        await asyncio.sleep(2.5 * SHORT_S)
    body = b"x" * LARGE if scope["path"] == "/large" else b"%d" % length
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A server with the timers shortened."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(connections, "HEAD_S", SHORT_S)
        patched.setattr(connections, "BODY_S", SHORT_S)
        patched.setattr(connections, "WHOLE_BODY_S", 8 * SHORT_S)
        patched.setattr(connections, "ANSWER_S", 2 * SHORT_S)
        patched.setattr(connections, "WHOLE_ANSWER_S", 20 * SHORT_S)
        listening = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(
            length_of_body,
            http=BoundedHttp,
            ws="none",
            loop="uvloop",
            lifespan="off",
            log_config=None,
            timeout_keep_alive=1,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        yield int(listening.getsockname()[1])
        server.should_exit = True
        thread.join(PATIENCE_S)
        listening.close()


@pytest.fixture
def line(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as opened:
        yield opened


def rest(line: socket.socket) -> bytes:
    """Return what comes until the server closes the connection; a test fails if it does not."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while part := line.recv(65536):
            found += part
    return found


def problem(answer: bytes, status: int) -> dict[str, object]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer[:200]
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head
    document: dict[str, object] = json.loads(body)
    assert document["status"] == status
    return document


def answered(line: socket.socket, body: bytes) -> None:
    found = b""
    while not found.endswith(b"\r\n\r\n" + body):
        part = line.recv(65536)
        assert part, found
        found += part
    assert found.startswith(b"HTTP/1.1 200"), found


def head_of(size: int) -> bytes:
    return GET + b"A: " + b"a" * (size - len(GET) - len(b"A: \r\n") + 16) + b"\r\n\r\n"


def taken_of(line: socket.socket, part: bytes) -> int:
    """Send a part again and again, 64 MiB at most; return how many bytes went before the end."""
    sent = 0
    with contextlib.suppress(ConnectionError):
        while sent < 64 * 2**20:
            line.sendall(part)
            sent += len(part)
    return sent


def test_a_head_may_be_as_large_as_the_limit_and_no_larger(port: int) -> None:
    # The limit counts the target, not the rest of the request line: 15 bytes less.
    for size, allowed in ((MOST_HEAD_BYTES - 64, True), (MOST_HEAD_BYTES + 64, False)):
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as line:
            line.sendall(head_of(size))
            if allowed:
                answered(line, b"0")
            else:
                assert problem(rest(line), 431)["most_bytes"] == MOST_HEAD_BYTES


@pytest.mark.parametrize(
    "part", [b"a" * 4096, b"a: b\r\n" * 700, b"\r\nb: " + b"c" * 4000], ids=["one", "many", "few"]
)
def test_a_head_without_end_is_cut_off(line: socket.socket, part: bytes) -> None:
    line.sendall(GET + b"A: ")
    assert taken_of(line, part) < 16 * 2**20


@pytest.mark.parametrize(("fields", "allowed"), [(MOST_FIELDS, True), (MOST_FIELDS + 1, False)])
def test_a_head_may_have_so_many_fields(line: socket.socket, fields: int, allowed: bool) -> None:
    line.sendall(GET + b"a: b\r\n" * (fields - 1) + b"\r\n")
    if allowed:
        answered(line, b"0")
    else:
        assert problem(rest(line), 431)["most_fields"] == MOST_FIELDS


@pytest.mark.parametrize("part", [b"x: " + b"y" * 4000 + b"\r\n", b"1;" + b"z" * 4000])
def test_trailers_and_what_is_around_chunks_have_an_end(line: socket.socket, part: bytes) -> None:
    line.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    if part.startswith(b"x"):
        line.sendall(b"0\r\n")
    assert taken_of(line, part) < 16 * 2**20


def test_a_large_body_in_many_small_chunks_is_no_large_head(line: socket.socket) -> None:
    line.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    line.sendall(b"1\r\nx\r\n" * 50_000 + b"0\r\n\r\n")
    answered(line, b"50000")
    line.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n" + b"x" * 300_000)
    answered(line, b"300000")


@pytest.mark.parametrize(
    "sent",
    [
        b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /\x01 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\x00y\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_cannot_be_read_is_a_problem(line: socket.socket, sent: bytes) -> None:
    line.sendall(sent)
    assert problem(rest(line), 400)["title"] == "Bad Request"


def test_what_cannot_be_read_does_not_take_the_answer_before_it(line: socket.socket) -> None:
    line.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\nBREW\r\n\r\n")
    found = rest(line)
    assert found.startswith(b"HTTP/1.1 200")
    assert found.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\r\n",
        b"GET / HT",
        GET + b"A: b\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        GET + b"\r\nGET / HT",
    ],
)
def test_nobody_is_waited_for_without_end(line: socket.socket, sent: bytes) -> None:
    line.sendall(sent)
    found = rest(line)
    assert found.count(b"HTTP/1.1 ") == (sent.count(b"\r\n\r\n") if sent.startswith(GET) else 0)


def test_an_empty_line_after_an_answer_keeps_no_connection(line: socket.socket) -> None:
    line.sendall(GET + b"\r\n")
    answered(line, b"0")
    line.sendall(b"\r\n")
    assert rest(line) == b""


def test_a_head_that_comes_by_the_byte_is_not_waited_for(line: socket.socket) -> None:
    with contextlib.suppress(ConnectionError):
        for byte in GET + b"A: " + b"a" * 500:
            line.sendall(bytes([byte]))
            time.sleep(SHORT_S / 10)
        pytest.fail("the connection was kept")


def test_who_is_slow_but_steady_is_waited_for(line: socket.socket) -> None:
    line.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\n")
    for _ in range(12):
        time.sleep(SHORT_S / 4)
        line.sendall(b"x")
    answered(line, b"12")
    # The connection is kept, and its timers begin anew.
    time.sleep(SHORT_S / 2)
    line.sendall(GET + b"\r\n")
    answered(line, b"0")


def test_who_waits_for_the_service_is_not_cut_off(line: socket.socket) -> None:
    line.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
    answered(line, b"0")


def test_who_sends_a_body_by_the_byte_is_waited_for_a_while(line: socket.socket) -> None:
    line.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
    began = time.monotonic()
    with contextlib.suppress(ConnectionError):
        while time.monotonic() - began < PATIENCE_S:
            line.sendall(b"x")
            time.sleep(SHORT_S / 5)
        pytest.fail("the connection was kept")
    assert time.monotonic() - began > 6 * SHORT_S


@pytest.mark.parametrize("more", [b"", b"Connection: close\r\n"])
def test_an_answer_that_nobody_reads_is_given_up(port: int, more: bytes) -> None:
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.settimeout(PATIENCE_S)
        line.connect(("127.0.0.1", port))
        line.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n" + more + b"\r\n")
        time.sleep(6 * SHORT_S)
        # What was on its way arrives; the rest went with the connection.
        assert len(rest(line)) < LARGE


def test_who_reads_slowly_gets_it_all(port: int) -> None:
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        line.settimeout(PATIENCE_S)
        line.connect(("127.0.0.1", port))
        line.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        found = 0
        began = time.monotonic()
        while part := line.recv(2**20):
            found += len(part)
            if time.monotonic() - began < 5 * SHORT_S:
                time.sleep(SHORT_S / 2)
    assert found > LARGE
