"""Reads and writes the EMS's own PostgreSQL directly.

Belongs here: statements over its tables ``assets``, ``metrics``, ``events`` and ``alerts``, whose
columns are named as in its HTTP interface (docs/how-to/ems.md).
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from anomaly_platform.ems.records import (
    AlertRecord,
    Asset,
    EmsError,
    EmsRecord,
    Event,
    Metric,
    NewAlert,
    NewEvent,
    NewMetric,
    Record,
    record_of,
)
from anomaly_platform.storage.postgres.database import redact

_CONNECT_TIMEOUT_S = 10
_NAMESPACE = uuid.UUID("5b4a2d0e-33a5-4c53-9a5e-6a1f0f6b2c11")


class EmsDatabase:
    """Reads and writes the EMS's tables.

    Parameters
    ----------
    connection : psycopg.AsyncConnection
        In autocommit, with rows as dictionaries.
    """

    def __init__(self, connection: psycopg.AsyncConnection[dict[str, Any]]) -> None:
        self._connection = connection

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, url: str) -> AsyncIterator[EmsDatabase]:
        """Connect to the EMS's database."""
        try:
            connection = await psycopg.AsyncConnection.connect(
                url,
                autocommit=True,
                row_factory=dict_row,
                connect_timeout=_CONNECT_TIMEOUT_S,
                options="-c timezone=UTC -c statement_timeout=30000",
                application_name="anomaly_platform",
            )
        except psycopg.Error as error:
            # The driver's text may hold the password.
            raise EmsError(
                f"the EMS's database {redact(url)} cannot be reached ({type(error).__name__})"
            ) from None
        async with connection:
            yield cls(connection)

    async def health(self) -> str:
        """Return ``ok`` when the database answers."""
        await self._rows("SELECT 1 AS one", {})
        return "ok"

    async def assets(self) -> list[Asset]:
        """Return every asset."""
        rows = await self._rows("SELECT id, name, type, status FROM assets ORDER BY id", {})
        return _records(Asset, "assets", rows)

    async def asset(self, asset_id: str) -> Asset | None:
        """Return one asset, None where there is none of this id."""
        rows = await self._rows(
            "SELECT id, name, type, status FROM assets WHERE id::text = %(id)s", {"id": asset_id}
        )
        return _records(Asset, "assets", rows)[0] if rows else None

    async def metrics(
        self,
        *,
        since: dt.datetime,
        until: dt.datetime,
        asset_id: str | None = None,
        metric_name: str | None = None,
    ) -> list[Metric]:
        """Return the readings from `since` on and before `until`."""
        rows = await self._rows(
            'SELECT id, "assetId", "metricName", value, timestamp FROM metrics '
            "WHERE timestamp >= %(since)s AND timestamp < %(until)s "
            'AND (%(asset)s::text IS NULL OR "assetId"::text = %(asset)s) '
            'AND (%(metric)s::text IS NULL OR "metricName" = %(metric)s) ORDER BY timestamp, id',
            {"since": since, "until": until, "asset": asset_id, "metric": metric_name},
        )
        return _records(Metric, "metrics", rows)

    async def raw_metrics(self, *, since: dt.datetime, until: dt.datetime) -> list[dict[str, Any]]:
        """Return the readings of a span as they are, for those who judge each by itself."""
        return await self._rows(
            'SELECT id::text AS id, "assetId"::text AS "assetId", "metricName", value, timestamp '
            "FROM metrics WHERE timestamp >= %(since)s AND timestamp < %(until)s "
            "ORDER BY timestamp, id",
            {"since": since, "until": until},
        )

    async def create_metric(self, metric: NewMetric, *, key: str) -> Metric:
        """Store one reading; the same key twice stores it once."""
        return Metric(id=await self._insert("metrics", metric, key), **metric.model_dump())

    async def create_metrics(self, metrics: Sequence[NewMetric], *, key: str) -> int:
        """Store many readings in one transaction; the same key twice stores them once."""
        with _database_errors("metrics"):
            async with self._connection.transaction():
                for place, metric in enumerate(metrics):
                    await self._insert("metrics", metric, f"{key}/{place}")
        return len(metrics)

    async def events(self, *, since: dt.datetime, until: dt.datetime) -> list[Event]:
        """Return the events from `since` on and before `until`."""
        rows = await self._rows(
            'SELECT id, "assetId", type, severity, message, timestamp, metadata FROM events '
            "WHERE timestamp >= %(since)s AND timestamp < %(until)s ORDER BY timestamp, id",
            {"since": since, "until": until},
        )
        return _records(Event, "events", rows)

    async def create_event(self, event: NewEvent, *, key: str) -> Event:
        """Store an event; the same key twice stores it once."""
        return Event(id=await self._insert("events", event, key), **event.model_dump())

    async def create_alert(self, alert: NewAlert, *, key: str) -> AlertRecord:
        """Store an alert; the same key twice stores it once."""
        return AlertRecord(id=await self._insert("alerts", alert, key), **alert.model_dump())

    async def _insert(self, table: str, record: EmsRecord, key: str) -> str:
        """Store a record and return its id, which follows from the key: a repeat finds it there."""
        made = str(uuid.uuid5(_NAMESPACE, key))
        values = {"id": made, **record.model_dump(by_alias=True)}
        if values.get("metadata") is not None:
            values["metadata"] = json.dumps(values["metadata"])
        names = sql.SQL(", ").join(map(sql.Identifier, values))
        marks = sql.SQL(", ").join(map(sql.Placeholder, values))
        statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}) ON CONFLICT (id) DO NOTHING").format(
            sql.Identifier(table), names, marks
        )
        with _database_errors(table):
            await self._connection.execute(statement, values)
        return made

    async def _rows(self, query: str, values: dict[str, Any]) -> list[dict[str, Any]]:
        with _database_errors(query.partition("FROM ")[2].partition(" ")[0] or "health"):
            cursor = await self._connection.execute(query.encode(), values)
            return await cursor.fetchall()


@contextlib.contextmanager
def _database_errors(what: str) -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        primary = error.diag.message_primary or type(error).__name__
        raise EmsError(f"the EMS's database, {what}: {primary}") from None


def _records(kind: type[Record], table: str, rows: list[dict[str, Any]]) -> list[Record]:
    # Ids may be uuid or integer; they are texts here.
    texts = [
        {
            name: str(value) if name in ("id", "assetId") and value is not None else value
            for name, value in row.items()
        }
        for row in rows
    ]
    return [record_of(kind, f"the EMS's database, {table} {row.get('id')}: ", row) for row in texts]
