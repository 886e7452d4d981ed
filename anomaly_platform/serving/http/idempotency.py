"""Writes that may be repeated: one key, one effect, one answer.

Belongs here: the header ``Idempotency-Key`` and the table ``idempotency_keys``. The effect of a
write and the answer to it are stored in one transaction: a retry either finds both or neither.

Readings are stored by a connection of their own (``ingest``), so that a process may die between
their commit and that of the answer. A claim, with the moment of the first attempt, is therefore
committed before: whoever repeats the request takes the readings as having come at that moment, at
which those that are stored are known by device, metric and time.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import Depends, Header, Request
from psycopg import AsyncConnection

from anomaly_platform.serving.auth.security import Caller
from anomaly_platform.serving.http.direct import read_body
from anomaly_platform.serving.http.problems import ApiProblem, invalid
from anomaly_platform.serving.state import ServingState
from anomaly_platform.storage.postgres.transactions import Connection, lock, lock_async

KEPT: Final = "1 day"
"""How long an answer is repeated, as PostgreSQL writes an interval."""

_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")
_HEADER: Final = b"idempotency-key"

#: Requests of a worker that hold a connection while somebody else writes for them.
_AT_ONCE: Final = 3


@dataclass(frozen=True, slots=True)
class Repeatable:
    """What identifies a write: the header, the route, and everything that was asked for.

    Attributes
    ----------
    key : str or None
        The header; None where the client does not ask for idempotency.
    """

    key: str | None
    route: str
    digest: bytes


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
    """Read the header and the digest of the request: a dependency of routes that write."""
    return await _identified(request, idempotency_key)


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
                raise invalid(
                    [
                        {
                            "loc": ("header", "Idempotency-Key"),
                            "msg": "1 to 255 visible characters of ASCII",
                        }
                    ]
                )
            return await _identified(request, key)
    return _NOT_REPEATABLE


async def _identified(request: Request, key: str | None) -> Repeatable:
    if key is None:
        return _NOT_REPEATABLE
    path = request.scope["path"]
    digest = hashlib.sha256(f"{request.method} {path}\n".encode() + await read_body(request))
    route = getattr(request.scope.get("route"), "path", path)
    return Repeatable(key, f"{request.method} {route}", digest.digest())


_NOT_REPEATABLE: Final = Repeatable(None, "", b"")

Once = Annotated[Repeatable, Depends(repeatable)]
"""As a parameter of a route that writes."""


async def write_once(
    serving: ServingState,
    caller: Caller,
    once: Repeatable,
    work: Callable[[Connection], dict[str, Any]],
) -> dict[str, Any]:
    """Do a piece of work in a transaction, or repeat what it returned before.

    Parameters
    ----------
    serving, caller, once
        Of the request.
    work : callable
        Takes the transaction and returns what can be written as JSON. An :class:`ApiProblem`
        rolls everything back, and is not remembered.

    Raises
    ------
    ApiProblem
        422, when the key was used for another request.
    """
    return await asyncio.to_thread(_write_once, serving, caller, once, work)


def _write_once(
    serving: ServingState,
    caller: Caller,
    once: Repeatable,
    work: Callable[[Connection], dict[str, Any]],
) -> dict[str, Any]:
    with serving.platform.warehouse.transactions.begin() as connection:
        if once.key is None:
            return work(connection)
        # Two of one key at a time: the second waits, and then finds the first one's answer.
        lock(connection, "idempotency", str(caller.key_id), once.route, once.key)
        connection.execute(
            "DELETE FROM idempotency_keys WHERE created_at < now() - %s::interval", (KEPT,)
        )
        found = connection.execute(
            "SELECT request_digest, response FROM idempotency_keys "
            "WHERE api_key_id = %s AND route = %s AND key = %s",
            (caller.key_id, once.route, once.key),
        ).fetchone()
        if found is not None:
            if bytes(found[0]) != once.digest:
                raise _other_request()
            answer: dict[str, Any] = found[1]
            return answer
        answer = work(connection)
        connection.execute(
            "INSERT INTO idempotency_keys (api_key_id, key, route, request_digest, response) "
            "VALUES (%s, %s, %s, %s, %s)",
            (caller.key_id, once.key, once.route, once.digest, json.dumps(answer)),
        )
        return answer


async def answer_once(
    serving: ServingState,
    caller: Caller,
    once: Repeatable,
    work: Callable[[dt.datetime], Awaitable[bytes]],
) -> bytes:
    """Do a piece of work that somebody else commits, or repeat the answer to it.

    Two of one key come one after the other; the second finds the answer to the first.

    Parameters
    ----------
    serving, caller, once
        Of the request, which has a key.
    work : callable
        Takes the moment of the first attempt, and returns what is answered with status 200, in
        UTF-8. To do it again with the same moment must change nothing. An :class:`ApiProblem`
        is not remembered.

    Raises
    ------
    ApiProblem
        422, when the key was used for another request.
    """
    async with _slots(asyncio.get_running_loop()):
        while True:
            async with serving.pool.connection() as connection:
                await _claim(connection, caller, once)
            async with serving.pool.connection() as connection, connection.transaction():
                said = await _answer(connection, caller, once, work)
            if isinstance(said, ApiProblem):
                raise said
            if said is not None:
                return said


async def _claim(connection: AsyncConnection[Any], caller: Caller, once: Repeatable) -> None:
    """Commit when the request came first."""
    await connection.execute(
        "DELETE FROM idempotency_keys WHERE created_at < now() - %s::interval", (KEPT,)
    )
    await connection.execute(
        "INSERT INTO idempotency_keys (api_key_id, key, route, request_digest) "
        "VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
        (caller.key_id, once.key, once.route, once.digest),
    )


async def _answer(
    connection: AsyncConnection[Any],
    caller: Caller,
    once: Repeatable,
    work: Callable[[dt.datetime], Awaitable[bytes]],
) -> bytes | ApiProblem | None:
    """Return the answer to a claim, which is done now or was before; None where it is gone."""
    of_key = "WHERE api_key_id = %s AND route = %s AND key = %s"
    key = (caller.key_id, once.route, once.key)
    await lock_async(connection, "idempotency", str(caller.key_id), once.route, str(once.key))
    cursor = await connection.execute(
        f"SELECT request_digest, response, created_at FROM idempotency_keys {of_key}",  # noqa: S608
        key,
    )
    found = await cursor.fetchone()
    if found is None:
        # Another of the same key came to nothing meanwhile, and took its claim back.
        return None
    digest, response, since = found
    if bytes(digest) != once.digest:
        raise _other_request()
    if response is not None:
        return str(response).encode()
    try:
        answer = await work(since)
    except ApiProblem as problem:
        if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            # What was done is unknown: the claim stays.
            raise
        await connection.execute(f"DELETE FROM idempotency_keys {of_key}", key)  # noqa: S608
        return problem
    # As text within JSON: given again byte by byte.
    await connection.execute(
        f"UPDATE idempotency_keys SET status = 200, response = to_jsonb(%s::text) {of_key}",  # noqa: S608
        (answer.decode(), *key),
    )
    return answer


@lru_cache(maxsize=8)
def _slots(_loop: asyncio.AbstractEventLoop) -> asyncio.Semaphore:
    return asyncio.Semaphore(_AT_ONCE)


def _other_request() -> ApiProblem:
    return ApiProblem(422, "this Idempotency-Key was used for another request; choose a new one")
