"""Reads and writes the EMS's own PostgreSQL directly.

Belongs here: statements over its tables ``assets``, ``metrics``, ``events`` and ``alerts``, whose
columns are named as in its HTTP interface, unless a setting says otherwise (docs/how-to/ems.md).
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString, Unpack

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from anomaly_platform.ems.records import (
    AlertRecord,
    Asked,
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
from anomaly_platform.settings.types import EMS_COLUMNS
from anomaly_platform.storage.postgres.database import redact

_CONNECT_TIMEOUT_S = 10
_NAMESPACE = uuid.UUID("5b4a2d0e-33a5-4c53-9a5e-6a1f0f6b2c11")


@dataclass(frozen=True, slots=True)
class EmsDatabase:
    """Reads and writes the EMS's tables.

    Parameters
    ----------
    connection : psycopg.AsyncConnection
        In autocommit, with rows as dictionaries.
    names : mapping of str to str
        How it calls a table or a column (``assets``, ``metrics.value``) where it is not our name.
    """

    connection: psycopg.AsyncConnection[dict[str, Any]]
    names: Mapping[str, str]

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls, url: str, names: Mapping[str, str] | None = None
    ) -> AsyncIterator[EmsDatabase]:
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
            yield cls(connection, names or {})

    async def health(self) -> str:
        """Return ``ok`` when the database answers."""
        with _database_errors("health"):
            await self.connection.execute("SELECT 1")
        return "ok"

    async def assets(self) -> list[Asset]:
        """Return every asset."""
        return _records(Asset, "assets", await self._rows("assets", "", {}))

    async def asset(self, asset_id: str) -> Asset | None:
        """Return one asset, None where there is none of this id."""
        # An address is written with its length by the database, and without by everybody else.
        rows = await self._rows(
            "assets",
            "WHERE {id}::text IN (%(id)s, %(id)s || '/32', %(id)s || '/128')",
            {"id": asset_id},
        )
        return _records(Asset, "assets", rows)[0] if rows else None

    async def metrics(self, **asked: Unpack[Asked]) -> list[Metric]:
        """Return the readings from `since` on and before `until`."""
        return _records(Metric, "metrics", await self.raw_metrics(**asked))

    async def raw_metrics(self, **asked: Unpack[Asked]) -> list[dict[str, Any]]:
        """Return the readings of a span as they are, for those who judge each by itself."""
        return await self._rows(
            "metrics",
            "WHERE {timestamp} >= %(since)s AND {timestamp} < %(until)s "
            "AND (%(asset_id)s::text IS NULL OR {assetId}::text IN "
            "(%(asset_id)s, %(asset_id)s || '/32', %(asset_id)s || '/128')) "
            "AND (%(metric_name)s::text IS NULL OR {metricName} = %(metric_name)s) "
            "ORDER BY {timestamp}",
            {"asset_id": None, "metric_name": None, **asked},
        )

    async def create_metric(self, metric: NewMetric, *, key: str) -> Metric:
        """Store one reading; the same key twice stores it once."""
        return Metric(id=await self._insert("metrics", metric, key), **metric.model_dump())

    async def create_metrics(self, metrics: Sequence[NewMetric], *, key: str) -> int:
        """Store many readings in one transaction; the same key twice stores them once."""
        with _database_errors("metrics"):
            async with self.connection.transaction():
                for place, metric in enumerate(metrics):
                    await self._insert("metrics", metric, f"{key}/{place}")
        return len(metrics)

    async def events(self, *, since: dt.datetime, until: dt.datetime) -> list[Event]:
        """Return the events from `since` on and before `until`."""
        rows = await self._rows(
            "events",
            "WHERE {timestamp} >= %(since)s AND {timestamp} < %(until)s ORDER BY {timestamp}",
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
        columns = {ours: theirs for ours, theirs in self._columns(table).items() if ours in values}
        statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
            self._table(table),
            sql.SQL(", ").join(columns.values()),
            sql.SQL(", ").join(map(sql.Placeholder, columns)),
        )
        if "id" in columns:
            statement += sql.SQL(" ON CONFLICT ({}) DO NOTHING").format(columns["id"])
        with _database_errors(table):
            await self.connection.execute(statement, values)
        return made

    def _table(self, table: str) -> sql.Identifier:
        return sql.Identifier(*self.names.get(table, table).split("."))

    def _columns(self, table: str) -> dict[str, sql.Identifier]:
        """Return the columns that there are, by our names."""
        named = {ours: self.names.get(f"{table}.{ours}", ours) for ours in EMS_COLUMNS[table]}
        return {ours: sql.Identifier(theirs) for ours, theirs in named.items() if theirs}

    async def _rows(
        self, table: str, rest: LiteralString, values: dict[str, Any]
    ) -> list[dict[str, Any]]:
        """Return rows under our names; `rest` follows the table, with our columns in braces."""
        columns = self._columns(table)
        chosen = (sql.SQL("{} AS {}").format(c, sql.Identifier(n)) for n, c in columns.items())
        query = sql.SQL("SELECT {} FROM {} ").format(sql.SQL(", ").join(chosen), self._table(table))
        with _database_errors(table):
            cursor = await self.connection.execute(query + sql.SQL(rest).format(**columns), values)
            rows = await cursor.fetchall()
        return [{name: self._plain(table, name, row[name]) for name in row} for row in rows]

    def _plain(self, table: str, name: str, value: Any) -> Any:
        """Return a cell as a record wants it: ids may be numbers, and a state yes or no."""
        if name in ("id", "assetId") and value is not None:
            return str(value)
        if isinstance(value, bool) and name != "value":
            theirs = self.names.get(f"{table}.{name}", name)
            return theirs if value else f"not {theirs}"
        return value


@contextlib.contextmanager
def _database_errors(what: str) -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        primary = error.diag.message_primary or type(error).__name__
        raise EmsError(f"the EMS's database, {what}: {primary}") from None


def _records(kind: type[Record], table: str, rows: list[dict[str, Any]]) -> list[Record]:
    return [record_of(kind, f"the EMS's database, {table} {row.get('id')}: ", row) for row in rows]
