"""API keys with their scopes, limits and expiry.

Belongs here: making keys, storing their digests, finding, listing and revoking them. Does not
belong here: what a request has to present and which routes ask for which scope (see
``serving.auth.security``).

A key is ``<prefix>.<secret>``. The prefix is no secret: it finds the row, and may be shown. The
secret has 256 random bits, so that one round of SHA-256 keeps it as well as any slow hash would.
"""

import datetime as dt
import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg.rows import class_row

from anomaly_platform.ingest.files.batches import CONTROL
from anomaly_platform.storage.postgres.transactions import (
    Connection,
    TableAccess,
    columns_of,
    fetch_one,
)
from anomaly_platform.storage.tables import audit

SCOPES: Final = ("ml:read", "ml:write", "ml:admin")
"""What a key may be allowed: predict and read; train and write; delete and manage keys."""

API_KEYS_CHANNEL: Final = "api_keys"
"""PostgreSQL channel on which the prefix of a changed key is announced, by a trigger."""

_PREFIX_START: Final = "anomaly_"
_PREFIX_BYTES: Final = 6
_SECRET_BYTES: Final = 32
_LONGEST_KEY: Final = 200


class ApiKeyError(ValueError):
    """A key cannot be made or found; the message says why."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as the table knows it; the secret is nowhere.

    Attributes
    ----------
    prefix : str
        The part of the key before the dot.
    digest : bytes
        SHA-256 of the whole key, 32 bytes.
    scopes : list of str
        Of :data:`SCOPES`.
    predictions_per_minute : int or None
        The key's own limit; ``None`` means the default, 0 means none.
    expires_at, revoked_at : datetime or None
        From when on it is refused.
    """

    id: UUID
    prefix: str
    digest: bytes = field(repr=False)
    name: str
    scopes: list[str]
    predictions_per_minute: int | None
    created_at: dt.datetime
    created_by: str
    expires_at: dt.datetime | None
    revoked_at: dt.datetime | None
    last_used_at: dt.datetime | None

    def state(self, now: dt.datetime) -> str:
        """Return ``active``, ``expired`` or ``revoked``."""
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at is not None and self.expires_at <= now:
            return "expired"
        return "active"

    def is_of(self, presented: str) -> bool:
        """Return whether the presented key is this one, in a time that tells nothing."""
        return hmac.compare_digest(self.digest, digest_of(presented))


_COLUMNS: Final = columns_of(ApiKey)


def new_key() -> tuple[str, str]:
    """Return a new prefix and the whole key that begins with it."""
    prefix = f"{_PREFIX_START}{secrets.token_hex(_PREFIX_BYTES)}"
    return prefix, f"{prefix}.{secrets.token_urlsafe(_SECRET_BYTES)}"


def digest_of(key: str) -> bytes:
    """Return what is stored of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def prefix_of(presented: str) -> str | None:
    """Return the part that finds the row, or None where what was presented is no key at all."""
    prefix, dot, secret = presented.partition(".")
    if not dot or not secret or len(presented) > _LONGEST_KEY or not presented.isascii():
        return None
    # A prefix is a literal part and hexadecimal digits: nothing else needs a question.
    digits = prefix.removeprefix(_PREFIX_START)
    if digits == prefix or len(digits) != 2 * _PREFIX_BYTES or not digits.isalnum():
        return None
    return prefix


class ApiKeys(TableAccess):
    """Reads and writes ``api_keys``."""

    def create(
        self,
        name: str,
        scopes: Iterable[str],
        *,
        created_by: str,
        expires_at: dt.datetime | None = None,
        predictions_per_minute: int | None = None,
        connection: Connection | None = None,
    ) -> tuple[ApiKey, str]:
        """Make a key.

        Parameters
        ----------
        name : str
            Whose it is or what for, 1 to 200 characters.
        scopes : iterable of str
            At least one of :data:`SCOPES`.
        created_by : str
            For the audit log.
        expires_at : datetime or None
            With time zone, in the future; ``None`` means never.
        predictions_per_minute : int or None
            A limit of the key's own; ``None`` means the default, 0 means none.
        connection : Connection or None
            Of the transaction to take part in; ``None`` begins one.

        Returns
        -------
        tuple of ApiKey and str
            The row, and the key itself, which is stored nowhere and cannot be shown again.

        Raises
        ------
        ApiKeyError
            When an argument cannot be used.
        """
        name = name.strip()
        wanted = sorted(set(scopes), key=lambda scope: (*SCOPES, scope).index(scope))
        _check(name, wanted, expires_at, predictions_per_minute)
        prefix, key = new_key()
        with self._transactions.within(connection) as within:
            made = _one(
                within,
                "INSERT INTO api_keys (prefix, digest, name, scopes, predictions_per_minute, "  # noqa: S608 - the columns are this module's
                f"created_by, expires_at) VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING {_COLUMNS}",
                (
                    *(prefix, digest_of(key), name, wanted),
                    *(predictions_per_minute, created_by, expires_at),
                ),
            )
            _record(within, created_by, "api_key.create", None, made)
        return made, key

    def all(self) -> list[ApiKey]:
        """Return every key, the newest first."""
        return self._transactions.rows(
            ApiKey,
            f"SELECT {_COLUMNS} FROM api_keys ORDER BY created_at DESC, prefix",  # noqa: S608
        )

    def revoke(
        self, which: UUID | str, *, revoked_by: str, connection: Connection | None = None
    ) -> ApiKey:
        """Refuse a key from now on; every serving process hears of it when this commits.

        Parameters
        ----------
        which : UUID or str
            Its id or its prefix.
        revoked_by : str
            For the audit log.
        connection : Connection or None
            Of the transaction to take part in; ``None`` begins one.

        Returns
        -------
        ApiKey
            As it is now; revoking one again changes nothing.

        Raises
        ------
        ApiKeyError
            When there is none.
        """
        column = "id" if isinstance(which, UUID) else "prefix"
        with self._transactions.within(connection) as within:
            found = _one(
                within,
                f"SELECT {_COLUMNS} FROM api_keys WHERE {column} = %s FOR UPDATE",  # noqa: S608
                (which,),
            )
            if found.revoked_at is not None:
                return found
            revoked = _one(
                within,
                f"UPDATE api_keys SET revoked_at = now() WHERE id = %s RETURNING {_COLUMNS}",  # noqa: S608
                (found.id,),
            )
            _record(within, revoked_by, "api_key.revoke", found, revoked)
        return revoked


async def find(connection: psycopg.AsyncConnection[tuple[Any, ...]], prefix: str) -> ApiKey | None:
    """Return the key with this prefix, whatever its state, or None."""
    async with connection.cursor(row_factory=class_row(ApiKey)) as cursor:
        await cursor.execute(f"SELECT {_COLUMNS} FROM api_keys WHERE prefix = %s", (prefix,))  # noqa: S608
        return await cursor.fetchone()


async def touch(connection: psycopg.AsyncConnection[tuple[Any, ...]], key_id: UUID) -> None:
    """Note that a key was used, once a minute at most."""
    await connection.execute(
        "UPDATE api_keys SET last_used_at = now() WHERE id = %s "
        "AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')",
        (key_id,),
    )


def _check(
    name: str,
    scopes: list[str],
    expires_at: dt.datetime | None,
    predictions_per_minute: int | None,
) -> None:
    # A name is shown on terminals and in logs.
    if not 1 <= len(name) <= 200 or CONTROL.search(name):
        raise ApiKeyError(
            "name: 1 to 200 characters that say whose key it is, none of them a control character"
        )
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown or not scopes:
        wrong = f"{', '.join(unknown)} is none of the scopes" if unknown else "none is given"
        raise ApiKeyError(f"scopes: {wrong}; choose from {', '.join(SCOPES)}")
    if expires_at is not None and (
        expires_at.tzinfo is None or expires_at <= dt.datetime.now(dt.UTC)
    ):
        raise ApiKeyError("expires_at: a time in the future, with its time zone")
    if predictions_per_minute is not None and not 0 <= predictions_per_minute < 2**31:
        raise ApiKeyError("predictions_per_minute: 0 (no limit) or more")


def _one(connection: Connection, statement: str, values: tuple[Any, ...]) -> ApiKey:
    found = fetch_one(connection, ApiKey, statement.encode(), values)
    if found is None:
        raise ApiKeyError(f"there is no key {values[0]}")
    return found


def _record(
    connection: Connection, actor: str, action: str, before: ApiKey | None, after: ApiKey
) -> None:
    described = None if before is None else _described(before)
    audit.record(connection, actor, action, f"api_key {after.prefix}", described, _described(after))


def _described(key: ApiKey) -> dict[str, Any]:
    return {
        "name": key.name,
        "scopes": key.scopes,
        "predictions_per_minute": key.predictions_per_minute,
        "expires_at": None if key.expires_at is None else key.expires_at.isoformat(),
        "revoked_at": None if key.revoked_at is None else key.revoked_at.isoformat(),
    }
