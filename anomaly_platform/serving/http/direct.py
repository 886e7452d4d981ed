"""A short cut around the framework's routing, for the busiest routes.

Finding a route and solving its dependencies costs FastAPI several times what judging a reading
costs. Here the path alone decides, and the route's own function does the rest; it stays a route of
the application, in its document and its tests, which know nothing of this way.

Belongs here as well: a body that is read once, and an answer that is written once.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from fastapi import Request, Response
from psycopg import OperationalError
from psycopg_pool import PoolTimeout
from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json
from starlette.types import ASGIApp, Receive, Scope, Send

from anomaly_platform.serving.http.bodies.large import MOST_INLINE, off_loop
from anomaly_platform.serving.problems import (
    ApiProblem,
    invalid_body,
    no_database,
    problem_response,
)
from anomaly_platform.storage.postgres.database import DatabaseError

Answer = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Direct:
    """A route that is known by its path.

    Attributes
    ----------
    path : str
        Without parameters; what metrics and logs call the route.
    answer : callable
        Checks the caller as well as the request.
    """

    path: str
    answer: Answer


class JsonAnswer(Response):
    """An answer with status 200 that is JSON, and nothing that has to be looked up.

    Parameters
    ----------
    content : dict or bytes
        What JSON can hold, or what has been written already.
    """

    def __init__(self, content: dict[str, Any] | bytes) -> None:
        self.body = content if isinstance(content, bytes) else to_json(content)
        self.status_code = 200
        self.background = None
        self.raw_headers = [
            (b"content-length", b"%d" % len(self.body)),
            (b"content-type", b"application/json"),
        ]


_Result = TypeVar("_Result")


async def parsed(request: Request, schema: TypeAdapter[_Result]) -> _Result:
    """Return a request's body as its schema has it.

    Raises
    ------
    ApiProblem
        422, when it does not fit.
    """
    body = await read_body(request)
    try:
        if len(body) <= MOST_INLINE:
            return schema.validate_json(body)
        return await off_loop(len(body), partial(schema.validate_json, body))
    except ValidationError as error:
        raise invalid_body(error) from None


async def read_body(request: Request) -> bytes:
    """Return a request's body, which has been read already where its size was bounded."""
    read: bytes | None = request.scope.get("state", {}).get("body")
    return await request.body() if read is None else read


class DirectRoutes:
    """Middleware: answers POST requests to some paths, and hands every other request on.

    Parameters
    ----------
    app : ASGIApp
        What comes after.
    routes : mapping of str to Direct
        By path.
    """

    def __init__(self, app: ASGIApp, routes: Mapping[str, Direct]) -> None:
        self._app = app
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand the request on."""
        found = self._routes.get(scope["path"]) if scope["type"] == "http" else None
        if found is None or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        scope["route"] = found
        try:
            response = await found.answer(Request(scope, receive))
        except ApiProblem as problem:
            response = problem_response(problem, found.path)
        except (DatabaseError, OperationalError, PoolTimeout) as error:
            response = problem_response(no_database(error), found.path)
        await response(scope, receive, send)
