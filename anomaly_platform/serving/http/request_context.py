"""The outermost middleware: gives every request an id, headers, a line in the log, and counts it.

Refusing a request does not belong here.
"""

import logging
import os
import re
import time
from collections.abc import Iterator, Sequence
from typing import Final

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from anomaly_platform.serving.auth.security import DOCUMENTATION_PATHS, Caller
from anomaly_platform.serving.metrics.requests import count_request
from anomaly_platform.serving.problems import ApiProblem, problem_response

REQUEST_ID: Final = "X-Request-ID"
_REQUEST_ID: Final = REQUEST_ID.lower().encode()
_USABLE_ID: Final = re.compile(rb"[A-Za-z0-9._:-]{1,64}")

#: Answers are for programs: nothing in them is to be run, framed, guessed or kept.
_ALWAYS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)
_POLICY: Final = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
#: Swagger UI and ReDoc as FastAPI writes them: a script in the page, the rest from this host.
_DOCUMENTATION_POLICY: Final = (
    b"content-security-policy",
    (
        b"default-src 'none'; frame-ancestors 'none'; connect-src 'self'; "
        b"script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
        b"worker-src blob:; img-src 'self' data:"
    ),
)
_PLAIN: Final = (*_ALWAYS, _POLICY)
_PLAIN_NAMES: Final = frozenset(name for name, _ in _PLAIN)
_DOCUMENTATION: Final = (*_ALWAYS, _DOCUMENTATION_POLICY)
_ONLY_TLS: Final = (b"strict-transport-security", b"max-age=31536000")

_FAILED: Final = ApiProblem(500, "an error in the service; its log says more")

#: As uvicorn has it.
_TWO_HEADS: Final = "Expected ASGI message 'http.response.body', but got 'http.response.start'."

_log = logging.getLogger(__name__)


class RequestContext:
    """Middleware that completes and counts every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._new_ids = _new_ids()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on, complete its answer, and count it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        request_id = _usable_id(scope) or next(self._new_ids)
        state = scope.setdefault("state", {})
        state["request_id"] = request_id.decode()
        status = 0
        head: Message | None = None

        async def complete(message: Message) -> None:
            nonlocal status, head
            if message["type"] == "http.response.start" and not status:
                if head is not None:
                    raise RuntimeError(_TWO_HEADS)
                said = message.get("headers", ())
                message["headers"] = [*said, (_REQUEST_ID, request_id), *_headers(scope, said)]
                # Until there is a part of the body, an error is still answered as one.
                head = message
                return
            if head is not None:
                begun, head = head, None
                status = begun["status"]
                await send(begun)
            await send(message)

        # For every line on the way; a server gives each request a context of its own.
        structlog.contextvars.bind_contextvars(request_id=state["request_id"])
        try:
            await self._app(scope, receive, complete)
        except Exception:
            _log.exception("%s %s failed", scope["method"], _route(scope))
            if status:
                # Half of the answer is gone already; the server cuts the connection.
                raise
            head = None
            await problem_response(_FAILED, scope["path"])(scope, receive, complete)
        finally:
            _account(scope, status or 499, time.perf_counter() - began)


def _usable_id(scope: Scope) -> bytes | None:
    """Return the id that the client sent, where it can be used as one."""
    for name, value in scope["headers"]:
        if name == _REQUEST_ID and _USABLE_ID.fullmatch(value):
            return bytes(value)
    return None


def _new_ids() -> Iterator[bytes]:
    """Yield random ids; the system is asked for many at a time."""
    while True:
        many = os.urandom(16 * 256).hex().encode()
        yield from (many[at : at + 32] for at in range(0, len(many), 32))


def _headers(scope: Scope, said: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the headers that every answer gets; what an answer says itself, it says better."""
    found = list(_DOCUMENTATION if scope["path"] in DOCUMENTATION_PATHS else _PLAIN)
    names = [name for name, _ in said]
    if not _PLAIN_NAMES.isdisjoint(names):
        found = [header for header in found if header[0] not in names]
    if scope.get("scheme") == "https":
        found.append(_ONLY_TLS)
    more = scope["state"].get("answer_headers")
    if more:
        found += [(name.lower().encode(), str(value).encode()) for name, value in more.items()]
    return found


def _route(scope: Scope) -> str:
    """Return the template of the route, which has few values, never the path."""
    if scope["path"] in DOCUMENTATION_PATHS:
        return str(scope["path"])
    route = scope.get("route")
    # Without what its parameters take, as the OpenAPI document has it.
    return str(getattr(route, "path_format", None) or getattr(route, "path", "unmatched"))


def _account(scope: Scope, status: int, seconds: float) -> None:
    route, state = _route(scope), scope["state"]
    # The stream whose models scored, as the route said; None for every other answer.
    judged = state.get("judged") if status == 200 else None
    count_request(
        scope["method"],
        route,
        status,
        seconds,
        scored=judged is not None,
        refused_as=state.get("refused_as"),
    )
    if judged is not None:
        scope["app"].state.serving.latencies.count(judged, route, seconds)
    level = logging.ERROR if status >= 500 else logging.INFO
    if not _log.isEnabledFor(level):
        return
    caller = state.get("caller")
    said = {
        "method": scope["method"],
        "route": route,
        "status": status,
        "seconds": round(seconds, 6),
        "key": caller.name if isinstance(caller, Caller) else None,
        "client": (scope.get("client") or (None,))[0],
    }
    _log.log(level, "request", extra=said)
