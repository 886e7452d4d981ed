"""Limits on what one request may send: bytes of its body, and depth of its JSON.

Belongs here: refusing what is too large before it is in memory, and what is nested too deeply
before it is parsed. Does not belong here: how many rows a document may have (``serving.schemas``),
and how many requests somebody may make (``auth.rate_limits``).
"""

import re
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from anomaly_platform.serving.http.body_form import compressed, json_headers, not_json, problem_of
from anomaly_platform.serving.problems import ApiProblem, problem_response

DEEPEST_JSON: Final = 32
"""Levels of arrays and objects that a document may have."""

_OTHER: Final = bytes(byte for byte in range(256) if byte not in b'"[]{}')
_ALIKE: Final = bytes.maketrans(b"{}", b"[]")
_ESCAPE: Final = re.compile(rb"\\.", re.DOTALL)
_STRING: Final = re.compile(rb'"[^"]*"')


def is_deeper_than(document: bytes, levels: int) -> bool:
    """Return whether JSON is nested deeper than that, at the speed of a few replacements.

    What is no JSON at all may be called either; the parser refuses it then.
    """
    if document.count(b"[") + document.count(b"{") <= levels:
        return False
    if b"\\" in document:
        document = _ESCAPE.sub(b"", document)
    rest = document.translate(_ALIKE, _OTHER)
    # Two quotes in a row end one string and begin another, or hold nothing: without them the rest
    # is inside a string where it was before.
    rest = _STRING.sub(b"", rest.replace(b'""', b""))
    for _ in range(levels):
        shorter = rest.replace(b"[]", b"")  # the innermost level
        if len(shorter) == len(rest):
            # Nothing is closed that was opened.
            return len(rest) > levels
        rest = shorter
    return bool(rest)


class BoundedBody:
    """Middleware: answers 400, 413, 415 or 422, or hands the request on with its whole body read.

    Parameters
    ----------
    app : ASGIApp
        What comes after.
    most_bytes : int
        Largest body that is read.
    """

    def __init__(self, app: ASGIApp, most_bytes: int) -> None:
        self._app = app
        self._most_bytes = most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body as far as it may go."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared, chunked = _announced(scope)
        if not declared and not chunked:
            await self._app(scope, receive, send)
            return
        problem = _wrongly_called(scope)
        if problem is None and declared > self._most_bytes:
            problem = self._too_large()
        body = b""
        if problem is None:
            read = await self._read(receive)
            if read is None:
                return
            body = read
            problem = self._wrong_with(body)
        if problem is not None:
            # What was not read stands between this answer and the next request.
            problem.headers["Connection"] = "close"
            await problem_response(problem, scope["path"])(scope, receive, send)
            return
        handed_over = False

        async def again() -> Message:
            nonlocal handed_over
            if handed_over:
                return await receive()
            handed_over = True
            return {"type": "http.request", "body": body, "more_body": False}

        scope.setdefault("state", {})["body"] = body
        await self._app(scope, again, send)

    async def _read(self, receive: Receive) -> bytes | None:
        """Return the body, or as much of it as shows that it is too large; None if cut off."""
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            part: bytes = message.get("body", b"")
            parts.append(part)
            size += len(part)
            if size > self._most_bytes or not message.get("more_body", False):
                return parts[0] if len(parts) == 1 else b"".join(parts)

    def _wrong_with(self, body: bytes) -> ApiProblem | None:
        if len(body) > self._most_bytes:
            return self._too_large()
        if is_deeper_than(body, DEEPEST_JSON):
            return ApiProblem(422, f"the document is nested deeper than {DEEPEST_JSON} levels")
        return problem_of(body)

    def _too_large(self) -> ApiProblem:
        return ApiProblem(
            413,
            f"the body has more than {self._most_bytes:,} bytes; send it in several requests",
            most_bytes=self._most_bytes,
        )


def _wrongly_called(scope: Scope) -> ApiProblem | None:
    """Return what is wrong with the announced form of a body; normalise its content type."""
    problem = compressed(scope["headers"])
    if problem is not None:
        return problem
    headers = json_headers(scope["headers"])
    if headers is None:
        return not_json()
    scope["headers"] = headers
    return None


def _announced(scope: Scope) -> tuple[int, bool]:
    """Return the length that the headers announce, and whether a body comes without one."""
    length, chunked = 0, False
    for name, value in scope["headers"]:
        if name == b"content-length":
            length = int(value) if value.isdigit() else 0
        elif name == b"transfer-encoding":
            chunked = True
    return length, chunked
