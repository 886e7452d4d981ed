"""How many connections there are, how much of a head is taken, and how long a client is waited for.

Belongs here: what happens before there is a request, which no middleware sees. uvicorn reads heads
of any length, waits for the rest of one for ever, and answers in plain text what it cannot read; it
has no settings for that, so its protocol is subclassed, and its version bounded in pyproject.toml.
Does not belong here: bodies, of which ``bodies`` takes so many bytes.
"""

import asyncio
import fcntl
import math
import struct
import termios
from collections.abc import Hashable, Iterable
from typing import Any, Final

from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from anomaly_platform.serving.http.crowd import Crowd
from anomaly_platform.serving.http.whole_answers import in_one_piece
from anomaly_platform.serving.problems import ApiProblem, problem_response

MOST_HEAD_BYTES: Final = 64 * 2**10
"""Request line and header fields together: eight times what proxies send at most by default."""

MOST_FIELDS: Final = 200
"""Header fields of a request; a browser behind several proxies sends some forty."""

HEAD_S: Final = 15.0
"""Seconds for a whole head, which fits into a packet or two on the slowest line."""

BODY_S: Final = 30.0
"""Seconds without any part of a body: a radio link that was lost is back by then, or gone."""

WHOLE_BODY_S: Final = 300.0
"""Seconds for all of a body: it takes memory while it comes, by the byte or not."""

ANSWER_S: Final = 30.0
"""Seconds for which a client may read nothing of its answer, which waits in memory."""

WHOLE_ANSWER_S: Final = 300.0
"""Seconds for which any of it may wait."""

_UNREADABLE: Final = ApiProblem(400, "this is no HTTP request that can be read")
_TOO_LARGE: Final = ApiProblem(
    431,
    f"the request line and the header fields may have {MOST_HEAD_BYTES:,} bytes and "
    f"{MOST_FIELDS} fields",
    most_bytes=MOST_HEAD_BYTES,
    most_fields=MOST_FIELDS,
)
_TOO_MANY: Final = ApiProblem(
    503, "there are too many connections; close some, or try later", headers={"Retry-After": "5"}
)
_ALSO: Final = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"connection", b"close"),
)


class _RefusedError(Exception):
    """Ends the parser's work on a head that is too large."""


class BoundedHttp(HttpToolsProtocol):
    """One connection of a client, with limits on heads and on waiting.

    A single timer looks at the connection now and then, instead of one being set and taken back
    with every part that arrives; while the application works or does not read, nothing is due.
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.app = in_one_piece(self.app)
        self._problem = _UNREADABLE
        #: Bytes read since the last request began or a part of its body came: a head that is not
        #: finished, or what surrounds a body, such as trailers.
        self._overhead = 0
        self._due = self._body_due = math.inf
        self._watching: asyncio.TimerHandle | None = None
        self._crowd: Crowd | None = self.app_state.get("crowd")
        self._owner: Hashable = None
        self._answer = _Unread()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._due = self.loop.time() + HEAD_S
        self._watching = self.loop.call_at(self._due, self._watch)
        owner = self.client[0] if self.client else "this machine"
        if self._crowd is None:
            return
        if self._crowd.enter(owner):
            self._owner = owner
        else:
            self._refuse(_TOO_MANY)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        super().connection_lost(exc)
        # A connection that was cut off leaves this one as well.
        self._unset_keepalive_if_required()
        if self._crowd is not None and self._owner is not None:
            self._crowd.leave(self._owner)
            self._owner = None
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None

    def is_of(self, owner: Hashable) -> bool:
        """Count the connection to whoever makes a request on it; return whether it may be kept."""
        if self._crowd is None or owner == self._owner or self._owner is None:
            return True
        if not self._crowd.move(self._owner, owner):
            return False
        self._owner = owner
        return True

    def resume_writing(self) -> None:
        """Go on with an answer, of which the client has read much."""
        super().resume_writing()
        self._answer.moved = True

    def data_received(self, data: bytes) -> None:
        """Parse what came, unless it is too much of a head."""
        self._overhead += len(data)
        super().data_received(data)
        if self._overhead > MOST_HEAD_BYTES and not self.transport.is_closing():
            self._refuse(_TOO_LARGE)

    def on_message_begin(self) -> None:
        """Begin to wait for the rest of a head."""
        super().on_message_begin()
        self._due = self.loop.time() + HEAD_S
        state: dict[str, Any] = self.scope["state"]
        state["is_of"] = self.is_of

    def on_headers_complete(self) -> None:
        """Hand a request on, unless its head is too large; begin to wait for its body."""
        if len(self.headers) > MOST_FIELDS or (
            # What was read may be a small head and much of a body.
            self._overhead > MOST_HEAD_BYTES and self._head_bytes() > MOST_HEAD_BYTES
        ):
            self._problem = _TOO_LARGE
            raise _RefusedError
        self._overhead = 0
        self._due = self.loop.time() + BODY_S
        self._body_due = self.loop.time() + WHOLE_BODY_S
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Hand a part of a body on, and begin to wait for the next one."""
        self._overhead = 0
        # Once there is an answer nobody needs the rest, and it need not arrive.
        if not self.cycle.response_complete:
            self._due = min(self.loop.time() + BODY_S, self._body_due)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Wait for nothing: now it is the application's turn."""
        self._overhead = 0
        self._due = math.inf
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Begin to wait for another request, after the time for which connections are kept."""
        super().on_response_complete()
        if self._due == math.inf:
            self._due = self.loop.time() + max(HEAD_S, self.timeout_keep_alive)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's text is not sent
        """Answer what cannot be read, or is too much, with a problem document."""
        self._refuse(self._problem)

    def _refuse(self, problem: ApiProblem) -> None:
        """Answer with a problem where an answer is awaited, and close the connection."""
        cycle = self.cycle
        under_way = cycle is not None and not cycle.response_complete
        if not (self.pipeline or (under_way and (cycle.response_started or not cycle.more_body))):
            answer = problem_response(problem)
            fields = (*self.server_state.default_headers, *answer.raw_headers, *_ALSO)
            self.transport.write(_written(answer, fields))
        elif under_way and not self.pipeline and not cycle.more_body:
            # The answer to the request before is still to come, and is the last one.
            cycle.keep_alive = False
            self.flow.pause_reading()
            self._due = math.inf
            return
        self.transport.close()

    def _head_bytes(self) -> int:
        fields = sum(len(name) + len(value) + len(b": \r\n") for name, value in self.headers)
        return len(self.url) + fields

    def _watch(self) -> None:
        """End the connection if something was due; look again when the next thing may be."""
        now = self.loop.time()
        self._watching = self.loop.call_at(min(self._due, now + HEAD_S), self._watch)
        if self._answer.is_left(_unread_bytes(self.transport), now):
            # Closing would wait until it has been read.
            self.transport.abort()
        elif self.flow.read_paused:
            # The client may have sent it long ago.
            self._due = max(self._due, now + BODY_S)
        elif self._due <= now:
            self._due = math.inf
            self.transport.close()


def _unread_bytes(transport: asyncio.Transport) -> int:
    """Return how much of an answer the client has not read; 0 where the system holds all of it."""
    waiting = transport.get_write_buffer_size()
    if not waiting:
        return 0
    try:
        # The system takes more only in large pieces, and a slow client reads in small ones.
        socket = transport.get_extra_info("socket")
        (sent,) = struct.unpack("i", fcntl.ioctl(socket.fileno(), termios.TIOCOUTQ, bytes(4)))
    except (OSError, ValueError, AttributeError):
        return waiting
    return waiting + int(sent)


class _Unread:
    """What of the answers a client has not read, as it was when last looked at.

    Attributes
    ----------
    moved : bool
        Whether the client has read much since then.
    """

    def __init__(self) -> None:
        self.moved = False
        self._size = 0
        self._since = self._moved_at = math.inf

    def is_left(self, size: int, now: float) -> bool:
        """Return whether bytes that wait to be read have waited for too long."""
        if not size:
            self._since = self._moved_at = math.inf
        elif not self._size:
            self._since = self._moved_at = now
        elif self.moved or size < self._size:
            self._moved_at = now
        self.moved, self._size = False, size
        return now - self._moved_at >= ANSWER_S or now - self._since >= WHOLE_ANSWER_S


def _written(answer: Response, fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return a whole answer as it goes over the wire."""
    head = b"".join(b"%s: %s\r\n" % field for field in fields)
    return b"".join((STATUS_LINE[answer.status_code], head, b"\r\n", bytes(answer.body)))
