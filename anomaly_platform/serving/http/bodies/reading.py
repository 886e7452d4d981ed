"""Reads the body of a request, as far as it may go.

Belongs here: refusing what may not be sent or is too large before it is in memory, and what parsers
would choke on before it is parsed. Does not belong here: how many rows a document may have
(``serving.schemas``), and how many requests somebody may make (``auth.rate_limits``).
"""

import asyncio
import math
from collections.abc import Hashable
from functools import partial
from typing import Final, Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from anomaly_platform.serving.http.bodies.doors import Door
from anomaly_platform.serving.http.bodies.form import (
    compressed,
    json_headers,
    not_json,
    problem_of,
)
from anomaly_platform.serving.http.bodies.large import MOST_INLINE, off_loop
from anomaly_platform.serving.http.bodies.refused import FOR_NOTHING, RefusedBytes
from anomaly_platform.serving.http.bodies.room import Held, Room
from anomaly_platform.serving.problems import ApiProblem, problem_response

HELD_BACK_S: Final = 1.0
"""Seconds for which a key that sends for nothing waits for its refusal, with all of its body."""


class FindsDoors(Protocol):
    """Knows what each route asks."""

    def find(self, scope: Scope) -> Door | None:
        """Return the door of a request; None where nothing reads its body."""


class BoundedBody:
    """Middleware: refuses a request, or hands it on with its whole body read.

    Parameters
    ----------
    app : ASGIApp
        What comes after.
    doors : FindsDoors
        What each route asks. A body that no route would read is not read here either.
    room : Room
        For the bodies of all requests.
    refused : RefusedBytes
        Of each key.
    """

    def __init__(self, app: ASGIApp, doors: FindsDoors, room: Room, refused: RefusedBytes) -> None:
        self._app = app
        self._doors = doors
        self._room = room
        self._refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body as far as it may go."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = _announced(scope)
        door = self._doors.find(scope) if announced else None
        if door is None:
            await self._app(scope, receive, send)
            return
        caller = scope.get("state", {}).get("caller")
        whose = getattr(caller, "key_id", None)
        with Held(self._room, whose) as held:
            try:
                if MOST_INLINE < announced < math.inf:
                    await self._refuse_wasteful(scope, whose)
                begins = receive
                if announced == math.inf:
                    begins = self._refusing_once_large(scope, receive, whose)
                body = await _read_through(scope, begins, door, announced, held)
            except ApiProblem as problem:
                scope["route"] = door
                if announced > MOST_INLINE:
                    # What was not read stands between this answer and the next request.
                    problem.headers["Connection"] = "close"
                self._count(whose, problem.status, announced, held.reached)
                await problem_response(problem, scope["path"])(scope, receive, send)
                return
            if body is None:
                self._count(whose, 400, 0, held.reached)
                return
            await self._hand_on(scope, receive, self._counting(send, whose, len(body)), body)

    async def _refuse_wasteful(self, scope: Scope, whose: Hashable) -> None:
        """Refuse a large body of a key that has sent too many for nothing, after a while.

        Meanwhile nothing of it is read. So whoever sends without pause waits, and costs others
        no more than a connection, of which there are so many for each key.
        """
        wait_s = math.ceil(self._refused.wait_s(whose))
        if not wait_s:
            return
        scope.setdefault("state", {})["refused_as"] = "refused_bodies"
        await asyncio.sleep(HELD_BACK_S)
        raise ApiProblem(
            429,
            "too many bytes of this API key were refused lately; correct what it sends, and send "
            f"bodies of more than {MOST_INLINE:,} bytes again in {wait_s} s",
            headers={"Retry-After": str(wait_s)},
        )

    def _refusing_once_large(self, scope: Scope, receive: Receive, whose: Hashable) -> Receive:
        """Return what receives a body that does not say how long it is."""
        size = 0

        async def watched() -> Message:
            nonlocal size
            message = await receive()
            before, size = size, size + len(message.get("body", b""))
            if before <= MOST_INLINE < size:
                await self._refuse_wasteful(scope, whose)
            return message

        return watched

    def _counting(self, send: Send, whose: Hashable, size: int) -> Send:
        """Return what sends an answer, and counts a body that a route refuses."""
        if size <= MOST_INLINE:
            return send

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._count(whose, message["status"], size, size)
            await send(message)

        return counted

    def _count(self, whose: Hashable, status: int, announced: float, read: int) -> None:
        """Count a body that was sent for nothing: what was read, or would have been."""
        size = read if announced == math.inf else max(announced, read)
        if size > MOST_INLINE and status in FOR_NOTHING:
            self._refused.count(whose, size)

    async def _hand_on(self, scope: Scope, receive: Receive, send: Send, body: bytes) -> None:
        handed_over = False

        async def again() -> Message:
            nonlocal handed_over
            if handed_over:
                return await receive()
            handed_over = True
            return {"type": "http.request", "body": body, "more_body": False}

        scope.setdefault("state", {})["body"] = body
        await self._app(scope, again, send)


async def _read_through(
    scope: Scope, receive: Receive, door: Door, announced: float, held: Held
) -> bytes | None:
    """Return the body of a request that may pass a door; None if it is cut off.

    Raises
    ------
    ApiProblem
        When it may not, or is no body for it.
    """
    await door.pass_through(scope)
    _refuse_wrongly_called(scope)
    if math.inf > announced > door.most_bytes:
        raise _too_large(door)
    body = await _read(receive, door, held)
    if body is None:
        return None
    # Most bodies are small, and most of what they cost is being handed from one to the next.
    inline = len(body) <= MOST_INLINE
    problem = problem_of(body) if inline else await off_loop(len(body), partial(problem_of, body))
    if problem is not None:
        raise problem
    return body


async def _read(receive: Receive, door: Door, held: Held) -> bytes | None:
    """Return the body; None if it is cut off.

    Raises
    ------
    ApiProblem
        413, as soon as it shows to be too large; 503, when the worker holds too much already; 400,
        415 or 422, when its beginning is wrong.
    """
    # Parts of one byte are put together: in a list each would take forty.
    parts: list[bytes] = []
    begun = bytearray()
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        part: bytes = message.get("body", b"")
        more = message.get("more_body", False)
        size += len(part)
        if size > door.most_bytes:
            raise _too_large(door)
        if not held.reach(size):
            raise ApiProblem(
                503,
                "the service holds as many bytes of requests as it may; try again, in smaller ones",
                headers={"Retry-After": "2"},
            )
        if size == len(part):
            if not more:
                return part
            if (problem := problem_of(part[:MOST_INLINE])) is not None:
                # What is wrong with a beginning is wrong with the whole: the rest need not come.
                raise problem
        begun += part
        if len(begun) >= MOST_INLINE or not more:
            parts.append(bytes(begun))
            begun.clear()
        if not more:
            # Joining many bytes lets others go on, which copying them elsewise does not.
            return await off_loop(size, partial(b"".join, parts))


def _too_large(door: Door) -> ApiProblem:
    return ApiProblem(
        413,
        f"the body has more than {door.most_bytes:,} bytes; send it in several requests",
        most_bytes=door.most_bytes,
    )


def _refuse_wrongly_called(scope: Scope) -> None:
    """Refuse a body whose announced form is wrong; normalise its content type."""
    problem = compressed(scope["headers"])
    if problem is not None:
        raise problem
    headers = json_headers(scope["headers"])
    if headers is None:
        raise not_json()
    scope["headers"] = headers


def _announced(scope: Scope) -> float:
    """Return the length that the headers announce, infinite for a body that comes without one."""
    length = 0.0
    for name, value in scope["headers"]:
        if name == b"transfer-encoding":
            return math.inf
        if name == b"content-length" and value.isdigit():
            length = float(value)
    return length
