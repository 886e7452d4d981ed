# ruff: noqa: S608 - statements are put together from constants of this module
"""Requests that may be sent again, and the answers that were given to them.

A writer in its own transaction calls :func:`recall`, does its work and calls :func:`remember`.
Where somebody else commits the work, the moment of the first attempt is committed before it
(:func:`claim`), and the answer after it (:func:`settle`).
"""

import datetime as dt
import json
from dataclasses import asdict, dataclass
from typing import Any, Final
from uuid import UUID

from psycopg import AsyncConnection

from anomaly_platform.storage.postgres.transactions import Connection, lock, lock_async

_KEPT: Final = "1 day"
"""How long an answer is repeated, as PostgreSQL writes an interval."""

_THIS: Final = "WHERE api_key_id = %(caller)s AND route = %(route)s AND key = %(key)s"
_FORGET: Final = f"DELETE FROM idempotency_keys WHERE created_at < now() - interval '{_KEPT}'"
_FIND: Final = f"SELECT request_digest, response, created_at FROM idempotency_keys {_THIS}"
_INSERT: Final = (
    "INSERT INTO idempotency_keys (api_key_id, key, route, request_digest, response) "
    "VALUES (%(caller)s, %(key)s, %(route)s, %(digest)s, %(response)s) ON CONFLICT DO NOTHING"
)


class OtherRequestError(ValueError):
    """The key was used for a request of other content."""


@dataclass(frozen=True, slots=True)
class RequestKey:
    """Identifies a request: the caller's API key, the route, the header and the content.

    Attributes
    ----------
    digest : bytes
        SHA-256 of method, path and body.
    """

    caller: UUID
    route: str
    key: str
    digest: bytes

    @property
    def lock_name(self) -> tuple[str, ...]:
        """Names of the lock under which requests of one key wait for each other."""
        return "idempotency", str(self.caller), self.route, self.key

    def values(self, response: str | None = None) -> dict[str, Any]:
        """Return the parameters of the statements."""
        return {**asdict(self), "response": response}


@dataclass(frozen=True, slots=True)
class Claim:
    """A request that has come before: when it first did, and its answer once there is one."""

    since: dt.datetime
    response: Any


def recall(connection: Connection, request: RequestKey) -> Claim | None:
    """Return what is known of a request, under a lock that the transaction holds to its end.

    Raises
    ------
    OtherRequestError
        When the key was used for another request.
    """
    lock(connection, *request.lock_name)
    connection.execute(_FORGET)
    return _claim(request, connection.execute(_FIND, request.values()).fetchone())


def remember(connection: Connection, request: RequestKey, answer: dict[str, Any]) -> None:
    """Store the answer to a request within the transaction that did the work."""
    connection.execute(_INSERT, request.values(json.dumps(answer)))


async def claim(connection: AsyncConnection[Any], request: RequestKey) -> None:
    """Store when a request came first, unless that is known."""
    await connection.execute(_FORGET)
    await connection.execute(_INSERT, request.values())


async def recall_claim(connection: AsyncConnection[Any], request: RequestKey) -> Claim | None:
    """Do what :func:`recall` does, over a connection that is awaited."""
    await lock_async(connection, *request.lock_name)
    cursor = await connection.execute(_FIND, request.values())
    return _claim(request, await cursor.fetchone())


async def withdraw(connection: AsyncConnection[Any], request: RequestKey) -> None:
    """Delete a claim whose work changed nothing."""
    await connection.execute(f"DELETE FROM idempotency_keys {_THIS}", request.values())


async def settle(connection: AsyncConnection[Any], request: RequestKey, answer: str) -> None:
    """Store the answer to a claim, as text within JSON: it is repeated byte by byte."""
    await connection.execute(
        "UPDATE idempotency_keys SET status = 200, response = to_jsonb(%(response)s::text) "
        f"{_THIS}",
        request.values(answer),
    )


def _claim(request: RequestKey, row: tuple[Any, ...] | None) -> Claim | None:
    if row is None:
        return None
    digest, response, since = row
    if bytes(digest) != request.digest:
        raise OtherRequestError
    return Claim(since, response)
