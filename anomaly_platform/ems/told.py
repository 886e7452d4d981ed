"""Remembers what an EMS was told, so that it is told once.

Belongs here: the rows of ``ems_told``. They are written when the EMS has answered: after a crash in
between it is told again, under the same idempotency key.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

from anomaly_platform.settings import Settings
from anomaly_platform.storage.postgres.database import redact


@dataclass(frozen=True, slots=True)
class Told:
    """What one EMS was told, by idempotency key.

    Parameters
    ----------
    ems : str
        Its address, without a password.
    """

    ems: str

    @classmethod
    def of(cls, settings: Settings) -> "Told":
        """Return what the EMS of the settings was told."""
        database = settings.ems_database_url
        url = settings.ems_core_url if database is None else database.get_secret_value()
        return cls(redact(url))

    async def among(self, connection: AsyncConnection[Any], keys: Collection[str]) -> set[str]:
        """Return those of the keys that it was told under."""
        cursor = await connection.execute(
            "SELECT key FROM ems_told WHERE ems = %s AND key = ANY(%s)", (self.ems, list(keys))
        )
        return {str(key) for (key,) in await cursor.fetchall()}

    async def add(self, connection: AsyncConnection[Any], keys: Collection[str]) -> set[str]:
        """Remember keys, and return those that nobody else remembered meanwhile."""
        cursor = await connection.execute(
            "INSERT INTO ems_told (ems, key) SELECT %s, key FROM unnest(%s::text[]) key "
            "ON CONFLICT DO NOTHING RETURNING key",
            (self.ems, sorted(keys)),
        )
        return {str(key) for (key,) in await cursor.fetchall()}
