"""Readings taken one by one: the tables ``online_readings`` and ``series_state``.

Belongs here: every statement about the two tables, each in the transaction of its caller. Does not
belong here: the order of things in a transaction (``online_ingest``), what a state means
(``ml.features.online``), nor where a series' past comes from (``online_states``).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal
from uuid import UUID

import polars as pl
from psycopg import Cursor
from psycopg.rows import class_row

from anomaly_platform.resources.online_encoding import (
    Encoded,
    int8_array,
    reading_rows,
    text_array,
)
from anomaly_platform.resources.transactions import Connection, Transactions

Source = Literal["api", "mqtt", "ems"]
Key = tuple[str, str]

#: Columns of ``online_readings`` that a reading brings, in the order of `reading_rows`.
_COPY: Final = (
    "COPY online_readings (stream, event_id, entity, metric, event_time, value, metadata, source, "
    "score, p_value, is_anomaly, threshold, status, provisional, bundle_version) "
    "FROM STDIN (FORMAT BINARY)"
)


@dataclass(frozen=True, slots=True)
class StoredReading:
    """A reading with the verdict that was given, which is never rewritten.

    Attributes
    ----------
    event_time : int
        Microseconds since 1970.
    score, p_value, is_anomaly
        Null where nothing could be said.
    status : str
        ``trained``, ``insufficient_history`` or ``failed``.
    provisional : bool
        Whether it came out of order: only the batch's score is final.
    """

    event_id: UUID
    entity: str
    metric: str
    event_time: int
    value: float
    metadata: str | None
    score: float | None
    p_value: float | None
    is_anomaly: bool | None
    threshold: float
    status: str
    provisional: bool
    bundle_version: int | None


@dataclass(frozen=True, slots=True)
class StateRow:
    """A locked row of ``series_state``; without its bytes where the caller has them already.

    `threshold` is the series' own, None where the stream's holds.
    """

    id: int
    revision: int
    feature_version: str
    threshold: float | None
    state: bytes | None
    tail: bytes | None


@dataclass(frozen=True, slots=True)
class Waiting:
    """Readings that no batch has claimed: how many (counted up to a limit), and since when."""

    rows: int
    oldest: dt.datetime | None


_STORED: Final = (
    "event_id, entity, metric, "
    "(extract(epoch FROM event_time) * 1000000)::bigint AS event_time, value, "
    "metadata::text AS metadata, score, p_value, is_anomaly, threshold, status, provisional, "
    "bundle_version"
)


class OnlineReadings:
    """Reads and writes ``online_readings`` and ``series_state``."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def waiting(self, stream: str, *, limit: int = 100_000) -> Waiting:
        """Return how many readings wait for a batch, counted up to `limit`, and since when."""
        with self._transactions.begin() as connection:
            row = connection.execute(
                "SELECT count(*), min(received_at) FROM (SELECT received_at FROM online_readings "
                "WHERE stream = %s AND batch_id IS NULL ORDER BY id LIMIT %s) first",
                (stream, limit),
            ).fetchone()
        return Waiting(0, None) if row is None else Waiting(int(row[0]), row[1])

    def find(self, stream: str, event_id: UUID) -> StoredReading | None:
        """Return a reading by the id of its event."""
        with self._transactions.begin() as connection:
            return by_event_id(connection, stream, [event_id]).get(event_id)

    def forget_passed_states(self, stream: str) -> int:
        """Delete states that files have overtaken; return how many.

        The next reading of such a series has its state made anew, from the lake and from what
        waits for a batch. Until then predictions look there themselves.
        """
        with self._transactions.begin() as connection:
            return connection.execute(
                "WITH passed AS (SELECT s.id FROM series_state s "
                "JOIN series b USING (stream, entity, metric) WHERE s.stream = %s "
                "AND b.last_event > coalesce(s.last_event, '-infinity') "
                "ORDER BY s.id FOR UPDATE OF s) "
                "DELETE FROM series_state s USING passed WHERE s.id = passed.id",
                (stream,),
            ).rowcount


def lock_states(connection: Connection, ids: Sequence[int], known: Sequence[int]) -> Cursor[Any]:
    """Lock states in the order of their ids; return a cursor over :class:`StateRow`.

    Parameters
    ----------
    connection : psycopg.Connection
        In a transaction.
    ids, known : sequence of int
        The rows, and the revision of each that the caller holds, −1 for none.
    """
    cursor = connection.cursor(row_factory=class_row(StateRow), binary=True)
    return cursor.execute(
        "SELECT s.id, s.revision, s.feature_version, t.threshold, "
        "CASE WHEN s.revision <> k.known THEN s.state END AS state, "
        "CASE WHEN s.revision <> k.known THEN s.tail END AS tail "
        "FROM unnest(%b::int8[], %b::int8[]) k(id, known) JOIN series_state s USING (id) "
        "LEFT JOIN thresholds t ON t.stream = s.stream AND t.entity = s.entity "
        "AND t.metric = s.metric "
        "ORDER BY s.id FOR UPDATE OF s",
        (int8_array(ids), int8_array(known)),
    )


def find_states(connection: Connection, stream: str, keys: Sequence[Key]) -> dict[Key, int]:
    """Return the ids of the series that have a state."""
    rows = connection.execute(
        "SELECT s.entity, s.metric, s.id FROM unnest(%s::text[], %s::text[]) k(entity, metric) "
        "JOIN series_state s ON s.stream = %s AND s.entity = k.entity AND s.metric = k.metric",
        ([key[0] for key in keys], [key[1] for key in keys], stream),
    ).fetchall()
    return {(entity, metric): int(found) for entity, metric, found in rows}


def make_states(
    connection: Connection,
    stream: str,
    feature_version: str,
    states: Iterable[tuple[Key, bytes, int | None]],
) -> None:
    """Store the first states of series, each with the time of its newest event.

    A state of the same features that somebody else has made meanwhile stays; one of other
    features is replaced.
    """
    connection.cursor().executemany(
        "INSERT INTO series_state AS s (stream, entity, metric, feature_version, state, last_event)"
        " VALUES (%s, %s, %s, %s, %s, "
        "'epoch'::timestamptz + %s::int8 * interval '1 microsecond') "
        "ON CONFLICT (stream, entity, metric) DO UPDATE SET state = excluded.state, tail = '', "
        "feature_version = excluded.feature_version, last_event = excluded.last_event, "
        "revision = s.revision + 1, updated_at = now() "
        "WHERE s.feature_version <> excluded.feature_version",
        [
            (stream, *key, feature_version, state, last)
            # In one order, so that two who do this at once wait for each other instead of locking.
            for key, state, last in sorted(states, key=lambda one: one[0])
        ],
    )


@dataclass(slots=True)
class StateChanges:
    """States that get readings, in the order of their ids.

    Attributes
    ----------
    ids, known
        The rows, and the revision that each must have.
    last
        Microseconds since 1970 of the newest reading.
    """

    ids: list[int]
    known: list[int]
    last: list[int]


def append_states(
    connection: Connection, changes: StateChanges, tails: Sequence[bytes] | Encoded
) -> Cursor[Any]:
    """Add readings to the tails of states; see `_change`."""
    encoded = tails if isinstance(tails, Encoded) else text_array(tails, "bytea")
    return _change(connection, "tail = s.tail || k.data", changes, encoded)


def replace_states(
    connection: Connection, changes: StateChanges, states: Sequence[bytes]
) -> Cursor[Any]:
    """Write new snapshots of states, with empty tails; see `_change`."""
    return _change(connection, "state = k.data, tail = ''", changes, text_array(states, "bytea"))


def _change(connection: Connection, change: str, what: StateChanges, data: Encoded) -> Cursor[Any]:
    """Change states that have the revision that is known of them, and raise it.

    Returns
    -------
    Cursor
        Over the ids of those that had it, each with the series' own threshold or None.
    """
    return connection.cursor(binary=True).execute(
        f"UPDATE series_state s SET {change}, revision = s.revision + 1, "  # noqa: S608
        "last_event = 'epoch'::timestamptz + k.last * interval '1 microsecond', updated_at = now() "
        "FROM unnest(%b::int8[], %b::int8[], %b::int8[], %b::bytea[]) k(id, known, last, data) "
        "WHERE s.id = k.id AND s.revision = k.known "
        "RETURNING s.id, (SELECT t.threshold FROM thresholds t WHERE t.stream = s.stream "
        "AND t.entity = s.entity AND t.metric = s.metric)",
        (int8_array(what.ids), int8_array(what.known), int8_array(what.last), data),
    )


def by_event_id(
    connection: Connection, stream: str, event_ids: Sequence[UUID]
) -> dict[UUID, StoredReading]:
    """Return the readings that have these ids."""
    with connection.cursor(row_factory=class_row(StoredReading)) as cursor:
        found = cursor.execute(
            f"SELECT {_STORED} FROM online_readings WHERE stream = %s AND event_id = ANY(%s)",  # noqa: S608
            (stream, list(event_ids)),
        ).fetchall()
    return {one.event_id: one for one in found}


def by_natural_key(
    connection: Connection, stream: str, keys: Sequence[tuple[str, str, int]]
) -> dict[tuple[str, str, int], StoredReading]:
    """Return the readings of these series and times (microseconds since 1970)."""
    with connection.cursor(row_factory=class_row(StoredReading)) as cursor:
        found = cursor.execute(
            f"SELECT {_STORED} FROM unnest(%s::text[], %s::text[], %s::int8[]) k(e, m, t) "  # noqa: S608
            "JOIN online_readings r ON r.stream = %s AND r.entity = k.e AND r.metric = k.m "
            "AND r.event_time = 'epoch'::timestamptz + k.t * interval '1 microsecond'",
            ([k[0] for k in keys], [k[1] for k in keys], [k[2] for k in keys], stream),
        ).fetchall()
    return {(one.entity, one.metric, one.event_time): one for one in found}


def insert_readings(
    connection: Connection, stream: str, source: Source, readings: Sequence[StoredReading]
) -> None:
    """Append readings with their verdicts."""
    with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
        copy.write(reading_rows(stream, source, readings))


def insert_detections(
    connection: Connection, stream: str, detector: str, readings: Sequence[StoredReading]
) -> None:
    """Append flagged readings to ``anomaly_detections``, where they are never rewritten."""
    connection.cursor().executemany(
        """
        INSERT INTO anomaly_detections (
            id, model_id, stream, device_id, metric_name, value, anomaly_score, is_anomaly,
            confidence, "timestamp", metadata, source, event_id, threshold, bundle_version, day
        )
        SELECT md5(concat_ws(E'\\x1f', 'realtime', r.stream, r.event_id))::uuid,
            (SELECT m.id FROM ml_models m WHERE m.stream = r.stream AND m.model_type = %(detector)s
                AND m.bundle_version = r.bundle_version AND m.device_id = r.entity
                AND m.metric_name = r.metric),
            r.stream, r.entity, r.metric, r.value, r.score, true,
            (r.score - r.threshold) / nullif(1 - r.threshold, 0), r.event_time,
            jsonb_build_object('status', r.status, 'p_value', r.p_value, 'detector',
                %(detector)s::text, 'provisional', r.provisional),
            'realtime', r.event_id, r.threshold, r.bundle_version,
            (r.event_time AT TIME ZONE 'UTC')::date
        FROM online_readings r WHERE r.stream = %(stream)s AND r.event_id = %(event_id)s
        -- Known already of a reading that was pruned and is sent again: it is never rewritten.
        ON CONFLICT (id) DO NOTHING
        """,
        [{"stream": stream, "event_id": one.event_id, "detector": detector} for one in readings],
    )


def claim(connection: Connection, stream: str, batch_id: str, *, limit: int) -> pl.DataFrame:
    """Give the oldest unclaimed readings to a batch and return them, the first received first.

    Rows that another transaction is claiming are passed over. The claim holds if the caller's
    transaction commits.
    """
    rows = connection.execute(
        """
        WITH mine AS (
            SELECT id, stream, event_id FROM online_readings
            WHERE stream = %(stream)s AND batch_id IS NULL
            ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
        )
        UPDATE online_readings r SET batch_id = %(batch)s FROM mine
        WHERE r.stream = mine.stream AND r.event_id = mine.event_id
        RETURNING r.id, r.entity, r.metric, r.event_time, r.value, r.event_id::text,
            r.metadata::text
        """,
        {"stream": stream, "batch": batch_id, "limit": limit},
    ).fetchall()
    return pl.DataFrame(rows, schema=_CLAIMED, orient="row").sort("id")


_CLAIMED: Final[dict[str, Any]] = {
    "id": pl.Int64,
    "entity": pl.String,
    "metric": pl.String,
    "event_time": pl.Datetime("us", "UTC"),
    "value": pl.Float64,
    "event_id": pl.String,
    "metadata": pl.String,
}

__all__ = ["OnlineReadings", "StateRow", "StoredReading", "Waiting"]
