"""Readings taken one by one: ``online_readings``, ``series_state`` and ``series_heads``.

Belongs here: the statements about the three tables, each in the transaction of its caller. Does not
belong here: the order of things in a transaction (``realtime.ingest``), what a state means
(``ml.features.metrics.series_state``), nor where its past comes from (``realtime.series_state``).
"""

import datetime as dt
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from uuid import UUID

import polars as pl
from psycopg.rows import class_row

from anomaly_platform.ml.scoring.explaining.numbers import Explanation
from anomaly_platform.ml.times import time_of
from anomaly_platform.storage.postgres.binary_format import fixed_array
from anomaly_platform.storage.postgres.transactions import Connection, TableAccess, fetch_all
from anomaly_platform.storage.tables.ml_models import FALLBACK, HAS_MODEL

Source = Literal["api", "mqtt", "ems"]
Key = tuple[str, str]


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
    is_call : bool or None
        Whether somebody is told of it.
    reason : str or None
        Why it is an anomaly or a call, in words; known when it is judged.
    explanation : Explanation or None
        The same in numbers.
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
    is_call: bool | None
    reason: str | None = field(default=None, compare=False)
    explanation: Explanation | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class StateRow:
    """A state whose head is locked; without its past where the caller has it already.

    `threshold` is the series' own, None where the stream's holds; `times` (microseconds since 1970)
    and `values` are the readings behind the snapshot, None where there are none.
    """

    id: int
    revision: int
    feature_version: str
    threshold: float | None
    state: bytes | None
    times: list[int] | None
    values: list[float] | None


_TAIL: Final = (
    "CROSS JOIN LATERAL (SELECT array_agg((extract(epoch FROM r.event_time) * 1000000)::bigint "
    "ORDER BY r.event_time) AS times, array_agg(r.value ORDER BY r.event_time) AS values "
    "FROM online_readings r WHERE r.stream = s.stream AND r.entity = s.entity "
    "AND r.metric = s.metric AND r.event_time > coalesce(s.snapshot_until, '-infinity')"
)
TAIL: Final = f"{_TAIL}) tail"
"""Joins to ``series_state s`` the readings behind its snapshot."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Readings that no batch has claimed: how many (counted up to a limit), and since when."""

    rows: int
    oldest: dt.datetime | None


_STORED: Final = (
    "event_id, entity, metric, "
    "(extract(epoch FROM event_time) * 1000000)::bigint AS event_time, value, "
    "metadata::text AS metadata, score, p_value, is_anomaly, threshold, status, provisional, "
    "bundle_version, is_call"
)


class OnlineReadings(TableAccess):
    """Reads and writes readings taken one by one, and the states of their series."""

    def waiting(self, stream: str, *, limit: int = 100_000) -> Waiting:
        """Return how many readings wait for a batch, counted up to `limit`, and since when."""
        ((rows, oldest),) = self._transactions.tuples(
            "SELECT count(*), min(received_at) FROM (SELECT received_at FROM online_readings "
            "WHERE stream = %s AND batch_id IS NULL ORDER BY id LIMIT %s) first",
            (stream, limit),
        )
        return Waiting(int(rows), oldest)

    def forget_passed_states(self, stream: str) -> int:
        """Delete states that files have overtaken; return how many.

        The next reading of such a series has its state made anew, from the lake and from what
        waits for a batch. Until then predictions look there themselves.
        """
        return self._transactions.execute(
            "WITH passed AS (SELECT h.id FROM series_heads h JOIN series_state s USING (id) "
            "JOIN series b USING (stream, entity, metric) WHERE s.stream = %s "
            "AND b.last_event > coalesce(h.last_event, '-infinity') "
            "ORDER BY h.id FOR UPDATE OF h) "
            "DELETE FROM series_state s USING passed WHERE s.id = passed.id",
            (stream,),
        )


def lock_states(connection: Connection, ids: Sequence[int], known: Sequence[int]) -> list[StateRow]:
    """Lock states in the order of their ids, and return them.

    Parameters
    ----------
    connection : psycopg.Connection
        In a transaction.
    ids, known : sequence of int
        The rows, and the revision of each that the caller holds, −1 for none.
    """
    connection.execute(
        "SELECT FROM unnest(%b::int8[]) k(id) JOIN series_heads h USING (id) "
        "ORDER BY h.id FOR UPDATE OF h",
        (fixed_array("int8", ids),),
    )
    # A statement of its own sees what was committed while the locks were waited for.
    cursor = connection.cursor(row_factory=class_row(StateRow), binary=True)
    return cursor.execute(
        "SELECT h.id, h.revision, s.feature_version, t.threshold, "  # noqa: S608
        "CASE WHEN h.revision <> k.known THEN s.state END AS state, tail.times, tail.values "
        "FROM unnest(%b::int8[], %b::int8[]) k(id, known) JOIN series_heads h USING (id) "
        "JOIN series_state s USING (id) LEFT JOIN thresholds t ON t.stream = s.stream "
        f"AND t.entity = s.entity AND t.metric = s.metric {_TAIL} AND h.revision <> k.known) tail "
        "ORDER BY h.id",
        (fixed_array("int8", ids), fixed_array("int8", known)),
    ).fetchall()


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
        "WITH made AS ("
        "INSERT INTO series_state AS s (stream, entity, metric, feature_version, state, "
        "snapshot_until) VALUES (%s, %s, %s, %s, %s, "
        "'epoch'::timestamptz + %s::int8 * interval '1 microsecond') "
        "ON CONFLICT (stream, entity, metric) DO UPDATE SET state = excluded.state, "
        "feature_version = excluded.feature_version, snapshot_until = excluded.snapshot_until, "
        "snapshot_at = now() WHERE s.feature_version <> excluded.feature_version "
        "RETURNING id, snapshot_until) "
        "INSERT INTO series_heads AS h (id, last_event) SELECT id, snapshot_until FROM made "
        "ON CONFLICT (id) DO UPDATE SET revision = h.revision + 1, "
        "last_event = excluded.last_event",
        [
            (stream, *key, feature_version, state, last)
            # In one order, so that two who do this at once wait for each other instead of locking.
            for key, state, last in sorted(states, key=lambda one: one[0])
        ],
    )


def by_given_id(
    connection: Connection, stream: str, event_ids: Sequence[UUID]
) -> dict[UUID, StoredReading]:
    """Return the readings whose senders gave them these ids."""
    if not event_ids:
        return {}
    found = fetch_all(
        connection,
        StoredReading,
        f"SELECT {_STORED} FROM online_readings "  # noqa: S608 - constants
        "WHERE stream = %s AND event_id = ANY(%s) AND id_given",
        (stream, list(event_ids)),
    )
    return {one.event_id: one for one in found}


def by_natural_key(
    connection: Connection, stream: str, keys: Sequence[tuple[str, str, int]]
) -> dict[tuple[str, str, int], StoredReading]:
    """Return the readings of these series and times (microseconds since 1970)."""
    found = fetch_all(
        connection,
        StoredReading,
        f"SELECT {_STORED} FROM unnest(%s::text[], %s::text[], %s::int8[]) k(e, m, t) "  # noqa: S608
        "JOIN online_readings r ON r.stream = %s AND r.entity = k.e AND r.metric = k.m "
        "AND r.event_time = 'epoch'::timestamptz + k.t * interval '1 microsecond'",
        ([k[0] for k in keys], [k[1] for k in keys], [k[2] for k in keys], stream),
    )
    return {(one.entity, one.metric, one.event_time): one for one in found}


#: Readings of a series that are looked at for the level at which it is called.
MOST_JUDGED: Final = 1000


@dataclass(frozen=True, slots=True)
class JudgedReading:
    """A reading that was judged; `final` where a batch will not judge it otherwise."""

    entity: str
    metric: str
    event_time: int
    value: float
    p_value: float | None
    threshold: float
    final: bool


def judged_since(
    connection: Connection,
    stream: str,
    version: int | None,
    since: Mapping[Key, int],
    known_at: dt.datetime | None,
) -> list[JudgedReading]:
    """Return what was judged of series since a time, in order of time.

    Of each series the newest :data:`MOST_JUDGED`, and late ones before that which no batch had
    when the states were left at `known_at`.
    A reading is final that came in order and was judged by this version.
    """
    return fetch_all(
        connection,
        JudgedReading,
        "SELECT r.* FROM unnest(%s::text[], %s::text[], %s::timestamptz[]) k(e, m, since) "
        "CROSS JOIN LATERAL (SELECT o.entity, o.metric, "
        "(extract(epoch FROM o.event_time) * 1000000)::bigint AS event_time, o.value, o.p_value, "
        "o.threshold, NOT o.provisional AND o.bundle_version IS NOT DISTINCT FROM %s AS final "
        "FROM online_readings o WHERE o.stream = %s AND o.entity = k.e AND o.metric = k.m "
        "AND o.event_time > k.since - interval '8 days' AND (o.event_time > k.since "
        "OR o.provisional AND (o.batch_id IS NULL OR o.received_at > %s)) "
        "ORDER BY o.event_time DESC LIMIT %s) r ORDER BY r.event_time",
        (
            [key[0] for key in since],
            [key[1] for key in since],
            [time_of(one) for one in since.values()],
            *(version, stream, known_at, MOST_JUDGED),
        ),
    )


def insert_detections(
    connection: Connection, stream: str, detector: str, readings: Sequence[StoredReading]
) -> None:
    """Append flagged readings to ``anomaly_detections``, where they are never rewritten."""
    connection.cursor().executemany(
        f"""
        INSERT INTO anomaly_detections (
            id, model_id, stream, device_id, metric_name, value, score, anomaly_score, is_anomaly,
            confidence, "timestamp", metadata, source, event_id, threshold, bundle_version, day
        )
        SELECT md5(concat_ws(E'\\x1f', 'realtime', r.stream, r.event_id))::uuid,
            m.id, r.stream, r.entity, r.metric, r.value, r.score,
            decision_score(r.score, r.threshold), true,
            abs(decision_score(r.score, r.threshold)), r.event_time,
            jsonb_build_object('status', r.status, 'p_value', r.p_value, 'detector',
                CASE WHEN r.status = 'trained' OR m.{HAS_MODEL}
                    THEN %(detector)s::text ELSE '{FALLBACK}' END,
                'provisional', r.provisional, 'reason', %(reason)s::text)
                || %(explained)s::jsonb,
            'realtime', r.event_id, r.threshold, r.bundle_version,
            (r.event_time AT TIME ZONE 'UTC')::date
        FROM online_readings r LEFT JOIN ml_models m
            ON m.stream = r.stream AND m.model_type = %(detector)s
            AND m.bundle_version = r.bundle_version AND m.device_id = r.entity
            AND m.metric_name = r.metric
        WHERE r.stream = %(stream)s AND r.entity = %(entity)s AND r.metric = %(metric)s
            AND r.event_time = 'epoch'::timestamptz + %(time)s::int8 * interval '1 microsecond'
        -- Known already of a reading that was pruned and is sent again: it is never rewritten.
        ON CONFLICT (id) DO NOTHING
        """,  # noqa: S608 - constants
        [
            {
                "stream": stream,
                "entity": one.entity,
                "metric": one.metric,
                "time": one.event_time,
                "detector": detector,
                "reason": one.reason,
                "explained": json.dumps({} if one.explanation is None else one.explanation.plain()),
            }
            for one in readings
        ],
    )


def claim(connection: Connection, stream: str, batch_id: str, *, limit: int) -> pl.DataFrame:
    """Give the oldest unclaimed readings to a batch and return them, the first received first.

    Rows that another transaction is claiming are passed over. The claim holds if the caller's
    transaction commits.
    """
    rows = connection.execute(
        """
        WITH mine AS (
            SELECT id FROM online_readings
            WHERE stream = %(stream)s AND batch_id IS NULL
            ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
        )
        UPDATE online_readings r SET batch_id = %(batch)s FROM mine
        WHERE r.id = mine.id AND r.batch_id IS NULL
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
