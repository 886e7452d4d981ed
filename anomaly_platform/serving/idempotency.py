"""Writes that may be repeated: one key, one effect, one answer.

Belongs here: the header ``Idempotency-Key`` and the table ``idempotency_keys``. The effect of a
write and the answer to it are stored in one transaction: a retry either finds both or neither.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Depends, Header, Request

from anomaly_platform.resources.transactions import Connection, lock
from anomaly_platform.serving.problems import ApiProblem
from anomaly_platform.serving.security import Caller
from anomaly_platform.serving.state import ServingState

KEPT: Final = "1 day"
"""How long an answer is repeated, as PostgreSQL writes an interval."""


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
    path = request.url.path
    digest = hashlib.sha256(f"{request.method} {path}\n".encode() + await request.body())
    route = getattr(request.scope.get("route"), "path", path)
    return Repeatable(idempotency_key, f"{request.method} {route}", digest.digest())


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
                raise ApiProblem(
                    422,
                    "this Idempotency-Key was used for another request; choose a new one",
                )
            answer: dict[str, Any] = found[1]
            return answer
        answer = work(connection)
        connection.execute(
            "INSERT INTO idempotency_keys (api_key_id, key, route, request_digest, response) "
            "VALUES (%s, %s, %s, %s, %s)",
            (caller.key_id, once.key, once.route, once.digest, json.dumps(answer)),
        )
        return answer
