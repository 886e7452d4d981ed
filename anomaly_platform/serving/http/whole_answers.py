"""An answer that is ready goes out at once: head and body in one packet.

uvicorn writes them one after the other, two calls of the system and two packets, of which the
client is told one by one, and checks every header field by itself. ASGI wants no head to be sent
before there is a part of a body. An answer in several parts is left to uvicorn.
"""

from collections.abc import Awaitable, Sequence
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

_CONTROLS: Final = bytes((*range(0x20), 0x7F))
#: As uvicorn has them: what would begin another field, or another answer, is never sent.
_NOT_IN_NAMES: Final = _CONTROLS + b'()<>@,;:[]={} \t\\"'
_NOT_IN_VALUES: Final = _CONTROLS.replace(b"\t", b"")
#: Fields that decide how an answer goes on, for uvicorn to see to.
_DECIDE: Final = frozenset((b"connection", b"transfer-encoding"))
_BODILESS: Final = frozenset((204, 304))


def in_one_piece(app: ASGIApp) -> ASGIApp:
    """Return an application whose answers go out so, where uvicorn's own `send` takes them."""

    def begun(scope: Scope, receive: Receive, send: Any) -> Awaitable[None]:
        return app(scope, receive, _WholeAnswer(send.__self__, send).send)

    return begun


class _WholeAnswer:
    """Sends the answer to one request, in one piece where it is in one.

    Parameters
    ----------
    cycle : RequestResponseCycle
        uvicorn's request and answer.
    theirs : callable
        Its own way to send.
    """

    __slots__ = ("_cycle", "_start", "_theirs")

    def __init__(self, cycle: RequestResponseCycle, theirs: Send) -> None:
        self._cycle = cycle
        self._theirs = theirs
        self._start: Message | None = None

    async def send(self, message: Message) -> None:
        """Take the head, or send a part of the body."""
        if message["type"] == "http.response.start" and not self._cycle.response_started:
            if self._start is not None:
                await self._theirs(self._start)
                # Which refuses a second one.
                await self._theirs(message)
            self._start = message
            return
        start, self._start = self._start, None
        if start is not None and not self._sent(start, message):
            await self._theirs(start)
        if not self._cycle.response_complete or start is None:
            await self._theirs(message)

    def _sent(self, start: Message, message: Message) -> bool:
        """Send a whole answer; return whether it was one, and nothing stood in its way."""
        cycle, status, body = self._cycle, start["status"], message.get("body", b"")
        if (
            message.get("more_body", False)
            or not cycle.keep_alive
            or cycle.disconnected
            or cycle.flow.write_paused
            or status in _BODILESS
            or cycle.scope["method"] == "HEAD"
        ):
            return False
        fields = [*cycle.default_headers, *map(tuple, start.get("headers", ()))]
        names, values = zip(*fields, strict=True) if fields else ((), ())
        if not _plain(names, values) or (b"content-length", b"%d" % len(body)) not in fields:
            return False
        lines = [STATUS_LINE[status], *(b"%b: %b\r\n" % field for field in fields), b"\r\n", body]
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        cycle.transport.write(b"".join(lines))
        cycle.message_event.set()
        cycle.on_response()
        return True


def _plain(names: Sequence[bytes], values: Sequence[bytes]) -> bool:
    """Return whether fields can be written as they are: usual names, in lower case, one length."""
    together, said = b"".join(names), b"".join(values)
    return (
        together.islower()
        and together.translate(None, _NOT_IN_NAMES) == together
        and said.translate(None, _NOT_IN_VALUES) == said
        and _DECIDE.isdisjoint(names)
        and names.count(b"content-length") == 1
    )
