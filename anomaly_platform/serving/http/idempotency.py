"""Writes that may be sent again: one key, one effect, one answer.

Belongs here: the header ``Idempotency-Key`` and the order of things around a write. The effect of a
write and the answer to it are stored in one transaction: a retry either finds both or neither.

Readings are stored by a connection of their own (``telemetry.ingest``), so that a process may die
between their commit and that of the answer. A claim, with the moment of the first attempt, is
therefore committed before: whoever repeats the request takes the readings as having come at that
moment, at which those that are stored are known by device, metric and time.
"""

import asyncio
import datetime as dt
import hashlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import Depends, Header, Request
from psycopg import AsyncConnection

from anomaly_platform.serving.auth.security import caller_of
from anomaly_platform.serving.http.bodies.large import off_loop
from anomaly_platform.serving.http.direct import read_body
from anomaly_platform.serving.problems import ApiProblem, invalid
from anomaly_platform.storage.postgres.transactions import Connection, Pool, Transactions
from anomaly_platform.storage.tables import idempotency_keys
from anomaly_platform.storage.tables.idempotency_keys import OtherRequestError, RequestKey

_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")
_HEADER: Final = b"idempotency-key"

#: Requests of a worker that hold a connection while somebody else writes for them.
_AT_ONCE: Final = 3


@dataclass(frozen=True, slots=True)
class Repeatable:
    """Does a request's work once, however often the request is sent.

    Attributes
    ----------
    request : RequestKey or None
        What identifies the request; None where the client does not ask for idempotency.
    transactions, pool
        For work that runs in a thread, and for work that is awaited.
    """

    request: RequestKey | None
    transactions: Transactions
    pool: Pool

    async def write(self, work: Callable[[Connection], dict[str, Any]]) -> dict[str, Any]:
        """Run a piece of work in a transaction, or return what it returned before.

        Parameters
        ----------
        work : callable
            Takes the transaction and returns what can be written as JSON. An :class:`ApiProblem`
            rolls everything back, and is not remembered.

        Raises
        ------
        ApiProblem
            422, when the key was used for another request.
        """
        return await asyncio.to_thread(self._write, work)

    def _write(self, work: Callable[[Connection], dict[str, Any]]) -> dict[str, Any]:
        with self.transactions.begin() as connection:
            if self.request is None:
                return work(connection)
            try:
                # Two of one key at a time: the second waits, and then finds the first one's answer.
                known = idempotency_keys.recall(connection, self.request)
            except OtherRequestError:
                raise _other_request() from None
            if known is not None:
                answer: dict[str, Any] = known.response
                return answer
            answer = work(connection)
            idempotency_keys.remember(connection, self.request, answer)
            return answer

    async def answer(self, work: Callable[[dt.datetime], Awaitable[bytes]]) -> bytes:
        """Run a piece of work that somebody else commits, or return the answer to it.

        Two of one key come one after the other; the second finds the answer to the first.

        Parameters
        ----------
        work : callable
            Takes the moment of the first attempt, and returns what is answered with status 200, in
            UTF-8. To do it again with the same moment must change nothing. An :class:`ApiProblem`
            is not remembered.

        Raises
        ------
        ApiProblem
            422, when the key was used for another request.
        """
        if self.request is None:
            return await work(dt.datetime.now(dt.UTC))
        async with _slots(asyncio.get_running_loop()):
            while True:
                async with self.pool.connection() as connection:
                    await idempotency_keys.claim(connection, self.request)
                async with self.pool.connection() as connection, connection.transaction():
                    said = await _answer(connection, self.request, work)
                if isinstance(said, ApiProblem):
                    raise said
                if said is not None:
                    return said


async def repeatable(
    request: Request,
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=255,
            pattern=r"^[\x21-\x7e]+$",
            description="Makes the request safe to repeat for a day: the same key with the same "
            "request gets the same answer, and nothing happens twice.",
        ),
    ] = None,
) -> Repeatable:
    """Return how to do the work of a request once: a dependency of routes that write."""
    serving = request.app.state.serving
    identity = None if idempotency_key is None else await _identified(request, idempotency_key)
    return Repeatable(identity, serving.platform.warehouse.transactions, serving.pool)


async def repeatable_directly(request: Request) -> Repeatable:
    """Do what :func:`repeatable` does, for a route that is taken before the framework.

    Raises
    ------
    ApiProblem
        422, when the header cannot be used.
    """
    for name, value in request.scope["headers"]:
        if name == _HEADER:
            key = value.decode("latin-1")
            if not _KEY.fullmatch(key):
                wrong = "1 to 255 visible characters of ASCII"
                raise invalid([{"loc": ("header", "Idempotency-Key"), "msg": wrong}])
            return await repeatable(request, key)
    return await repeatable(request, None)


async def _identified(request: Request, key: str) -> RequestKey:
    path = request.scope["path"]
    body = await read_body(request)
    head = f"{request.method} {path}\n".encode()
    digest = await off_loop(len(body), lambda: hashlib.sha256(head + body))
    route = getattr(request.scope.get("route"), "path", path)
    return RequestKey(caller_of(request).key_id, f"{request.method} {route}", key, digest.digest())


Once = Annotated[Repeatable, Depends(repeatable)]
"""As a parameter of a route that writes."""


async def _answer(
    connection: AsyncConnection[Any],
    request: RequestKey,
    work: Callable[[dt.datetime], Awaitable[bytes]],
) -> bytes | ApiProblem | None:
    """Return the answer to a claim, which is done now or was before; None where it is gone."""
    try:
        known = await idempotency_keys.recall_claim(connection, request)
    except OtherRequestError:
        raise _other_request() from None
    if known is None:
        # Another of the same key came to nothing meanwhile, and took its claim back.
        return None
    if known.response is not None:
        return str(known.response).encode()
    try:
        answer = await work(known.since)
    except ApiProblem as problem:
        if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            # What was done is unknown: the claim stays.
            raise
        await idempotency_keys.withdraw(connection, request)
        return problem
    await idempotency_keys.settle(connection, request, answer.decode())
    return answer


@lru_cache(maxsize=8)
def _slots(_loop: asyncio.AbstractEventLoop) -> asyncio.Semaphore:
    return asyncio.Semaphore(_AT_ONCE)


def _other_request() -> ApiProblem:
    return ApiProblem(422, "this Idempotency-Key was used for another request; choose a new one")
