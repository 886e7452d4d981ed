# ruff: noqa: S608 - statements are put together from constants of this module
"""Scored rows of a day: replaced as a whole, or not at all.

Two tables hold them, one for each kind of stream, partitioned by stream: ``scored_metrics`` and
``scored_scans``; the partition of a stream is ``scored_<stream>``. Flagged rows are in
``anomaly_detections`` as well, where a code is the device and `scans` the metric of a scan. How a
score comes about does not belong here (``ml.scoring``, ``ml.scans``), nor do verdicts given in
real time, which are never rewritten.
"""

import contextlib
import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import polars as pl
from psycopg import sql

from anomaly_platform.storage.postgres.copying import PgType, copy_frame, polars_schema, read_day
from anomaly_platform.storage.postgres.transactions import Transactions
from anomaly_platform.storage.tables.ml_models import FALLBACK, HAS_MODEL
from anomaly_platform.storage.tables.scored_days import (
    DayAlerts,
    ScoredDay,
    ScoredDays,
    record_day,
    refuse_stale,
)

SCANS_METRIC: Final = "scans"
EVERY_CODE: Final = "*"
"""What stands for a metric of scans, and for the device of a model that judges every code."""

_SET_HERE: Final = ("stream", "day", "detector", "bundle_version")
_WITHOUT_LIMITS: Final = (
    "SELECT set_config(name, '0', true) FROM pg_settings WHERE name IN ("
    "'idle_in_transaction_session_timeout', 'transaction_timeout', "
    # The lock is waited for in one statement, for as long as another run scores the day.
    "'statement_timeout', 'lock_timeout')"
)
_DELETE_DETECTIONS: Final = (
    "DELETE FROM anomaly_detections "
    "WHERE stream = %(stream)s AND day = %(day)s AND source = 'batch'"
)


@dataclass(frozen=True, slots=True)
class ScoredTable:
    """A table of scored rows.

    Attributes
    ----------
    name : str
        Of the partitioned table.
    columns : mapping of str to PgType
        All its columns in the order of the result of :meth:`ScoredRows.read_day`.
    key : tuple of str
        The natural key of a row within its stream.
    optional : tuple of str
        Columns that a frame may lack; null then.
    detections : str
        The statement that copies a day's flagged rows to ``anomaly_detections``.
    """

    name: str
    columns: Mapping[str, PgType]
    key: tuple[str, ...]
    optional: tuple[str, ...]
    detections: str

    @property
    def schema(self) -> pl.Schema:
        """The columns that a frame of scored rows brings."""
        return polars_schema(self.columns, without=(*_SET_HERE, *self.optional))

    @property
    def lake_schema(self) -> pl.Schema:
        """The columns of a scored day's file in the lake, but for the bucket."""
        return polars_schema(self.columns, without=_SET_HERE)

    def completed(
        self, chunk: pl.DataFrame, stream: str, day: dt.date, *, detector: str, version: int | None
    ) -> pl.DataFrame:
        """Return a frame with every column of the table.

        Raises
        ------
        ValueError
            When it lacks a column, or holds event times of other days.
        """
        missing = [name for name in self.schema if name not in chunk.columns]
        if missing:
            raise ValueError(f"scored rows of {stream} {day} lack the columns {', '.join(missing)}")
        if chunk.height and not chunk.select((pl.col("event_time").dt.date() == day).all()).item():
            raise ValueError(f"scored rows of {stream} {day} hold event times of other days")
        return chunk.with_columns(
            *(pl.lit(None).alias(name) for name in self.optional if name not in chunk.columns),
            pl.lit(stream).alias("stream"),
            pl.lit(day).alias("day"),
            pl.lit(detector).alias("detector"),
            pl.lit(version, pl.Int32).alias("bundle_version"),
        )


EXPLAINED: Final[dict[str, PgType]] = {
    **dict.fromkeys(("expected_low", "expected_high", "deviation", "lasted_s"), "float8"),
    "direction": "text",
    "lasting": "bool",
    "explanation": "jsonb",
}
"""Columns of a flagged reading's explanation."""
_EXPLAINED: Final = ", ".join(f"'{name}', s.{name}" for name in EXPLAINED)

SCORED_METRICS: Final = ScoredTable(
    name="scored_metrics",
    columns={
        "stream": "text",
        "day": "date",
        "entity": "text",
        "metric": "text",
        "event_time": "timestamptz",
        "event_id": "uuid",
        "value": "float8",
        "score": "float8",
        "is_anomaly": "bool",
        "threshold": "float8",
        "status": "text",
        "p_value": "float8",
        "raw_score": "float8",
        "z_score": "float8",
        "iqr_score": "float8",
        "mad_score": "float8",
        "label": "bool",
        "entity_score": "float8",
        "entity_is_anomaly": "bool",
        "causes": "jsonb",
        "reason": "text",
        "is_call": "bool",
        "entity_is_call": "bool",
        **EXPLAINED,
        "metadata": "json",
        "detector": "text",
        "bundle_version": "int4",
    },
    key=("entity", "metric", "event_time"),
    optional=(
        *("label", "entity_score", "entity_is_anomaly", "causes", "reason"),
        *("is_call", "entity_is_call", "metadata"),
        *EXPLAINED,
    ),
    detections=f"""
        INSERT INTO anomaly_detections (
            id, model_id, stream, device_id, metric_name, value, score, anomaly_score, is_anomaly,
            confidence, "timestamp", metadata, source, event_id, threshold, bundle_version, day,
            created_at
        )
        SELECT
            md5(concat_ws(E'\\x1f', 'batch', s.stream, s.entity, s.metric,
                          extract(epoch FROM s.event_time)))::uuid,
            m.id, s.stream, s.entity, s.metric, s.value, s.score,
            decision_score(s.score, s.threshold), true,
            abs(decision_score(s.score, s.threshold)), s.event_time,
            jsonb_strip_nulls(jsonb_build_object(
                'status', s.status, 'p_value', s.p_value,
                'detector', CASE WHEN s.status = 'trained' OR m.{HAS_MODEL}
                    THEN s.detector ELSE '{FALLBACK}' END,
                'causes', s.causes, 'reason', s.reason, 'label', s.label, {_EXPLAINED})),
            'batch', s.event_id, s.threshold, s.bundle_version, s.day,
            clock_timestamp()
        FROM {{partition}} s
        LEFT JOIN ml_models m ON m.stream = s.stream AND m.model_type = s.detector
            AND m.bundle_version = s.bundle_version
            AND m.device_id = s.entity AND m.metric_name = s.metric
        WHERE s.day = %(day)s AND s.is_anomaly
        """,
)

SCORED_SCANS: Final = ScoredTable(
    name="scored_scans",
    columns={
        "stream": "text",
        "day": "date",
        "epc_code": "text",
        "event_time": "timestamptz",
        "location_id": "text",
        "business_step": "text",
        "event_type": "text",
        "event_id": "text",
        "file_id": "text",
        "scan_location": "text",
        "operator_id": "text",
        "device_id": "text",
        "product_name": "text",
        "place": "text",
        "location_interpolated": "bool",
        "step": "text",
        "business_step_inferred": "bool",
        "event_type_missing": "bool",
        "epc_malformed": "bool",
        "partial_sequence": "bool",
        "place_name": "text",
        "latitude": "float8",
        "longitude": "float8",
        "location_type": "text",
        "location_hierarchy": "int4",
        "epc_fake_score": "float8",
        "epc_dup_score": "float8",
        "loc_err_score": "float8",
        "evt_order_err_score": "float8",
        "jump_score": "float8",
        "blind_rules": "text",
        "lstm_score": "float8",
        "svm_score": "float8",
        "ml_combined_score": "float8",
        "final_confidence": "float8",
        "is_anomaly": "bool",
        "severity": "text",
        "explanation": "text",
        "label": "bool",
        "anomaly_kind": "text",
        "detector": "text",
        "bundle_version": "int4",
    },
    key=("epc_code", "event_time", "location_id", "business_step", "event_type"),
    optional=(),
    detections=f"""
        INSERT INTO anomaly_detections (
            id, model_id, stream, device_id, metric_name, score, anomaly_score, is_anomaly,
            confidence, "timestamp", metadata, source, event_id, threshold, bundle_version, day,
            created_at
        )
        SELECT
            md5(jsonb_build_array('batch', s.stream, s.epc_code,
                extract(epoch FROM s.event_time), s.location_id, s.business_step,
                s.event_type)::text)::uuid,
            m.id, s.stream, s.epc_code, '{SCANS_METRIC}',
            %(threshold)s + (1 - %(threshold)s) * (s.final_confidence - 50) / 50,
            (50 - s.final_confidence) / 50, true,
            (s.final_confidence - 50) / 50, s.event_time,
            jsonb_strip_nulls(jsonb_build_object(
                'event_id', s.event_id, 'place', s.place, 'event_type', s.event_type,
                'severity', s.severity, 'final_confidence', s.final_confidence,
                'explanation', s.explanation, 'detector', s.detector, 'label', s.label)),
            'batch', md5(jsonb_build_array(s.stream, s.event_id)::text)::uuid,
            %(threshold)s, s.bundle_version, s.day,
            clock_timestamp()
        FROM {{partition}} s
        LEFT JOIN ml_models m ON m.stream = s.stream AND m.model_type = s.detector
            AND m.bundle_version = s.bundle_version
            AND m.device_id = '{EVERY_CODE}' AND m.metric_name = '{SCANS_METRIC}'
        WHERE s.day = %(day)s AND s.is_anomaly
        """,
)


class NewRows:
    """Takes the rows of a day that is being replaced, chunk by chunk.

    Attributes
    ----------
    stored : ScoredDay
        What is stored now; there once the day is replaced.
    """

    stored: ScoredDay

    def __init__(
        self, thread: Executor, begin: Callable[[], None], copy: Callable[[pl.DataFrame], int]
    ) -> None:
        self._thread = thread
        self._copy = copy
        self._rows = 0
        self._under_way = thread.submit(begin)

    def add(self, chunk: pl.DataFrame) -> None:
        """Copy a chunk in the other thread, once the one before it is stored.

        The chunk has the columns of `table.schema`, and perhaps the optional ones. What went wrong
        with the chunk before it is raised here.
        """
        self.count()
        self._under_way = self._thread.submit(self._append, chunk)

    def count(self) -> int:
        """Wait until all that was added is stored; return how many rows."""
        self._under_way.result()
        return self._rows

    def _append(self, chunk: pl.DataFrame) -> None:
        self._rows += self._copy(chunk)


class ScoredRows(ScoredDays):
    """Reads and writes one table of scored rows, ``scored_days`` and the batch's detections."""

    def __init__(self, transactions: Transactions, table: ScoredTable) -> None:
        super().__init__(transactions)
        self.table = table

    def ensure_metric_tables(self, stream: str, *, entity_field: str = "entity") -> None:
        """Make a metric stream's partition, indexes and BI views; again, it renews the views.

        Parameters
        ----------
        stream : str
            Lower-case identifier.
        entity_field : str
            Name of the entity's column in the views, such as ``device_id``.
        """
        self._transactions.execute("SELECT ensure_stream_tables(%s, %s)", (stream, entity_field))

    def ensure_scan_tables(self, stream: str) -> None:
        """Make a scan stream's partition, indexes and BI views; again, it renews the views."""
        self._transactions.execute("SELECT ensure_scan_stream_tables(%s)", (stream,))

    def has_tables(self, stream: str, entity_field: str = "epc_code") -> bool:
        """Return whether a stream's view of scores is there with this name of the entity's column.

        To ask is cheap and locks nothing, while making the views anew waits for whoever reads
        them.
        """
        found = self._transactions.value(
            "SELECT count(*) FROM pg_attribute WHERE attname = %s AND NOT attisdropped "
            "AND attrelid = to_regclass(%s)",
            (entity_field, f"bi_{stream}_scores"),
        )
        return bool(found)

    @contextlib.contextmanager
    def replacing(
        self,
        stream: str,
        day: dt.date,
        *,
        watermark: int,
        detector: str,
        bundle_version: int | None,
        threshold: float | None = None,
        alerts: DayAlerts | None = None,
    ) -> Iterator[NewRows]:
        """Replace a day's scores and its batch detections by what the block adds.

        All is one transaction, which commits when the block has ended and is rolled back on an
        error. Readers see the old day until then. Writers of the same day wait for each other.
        The rows of before are deleted, and each chunk is copied, in another thread, while the block
        makes the next one: the transaction is open for as long as the slower of both takes, and one
        chunk. Whatever limits such transactions on the server does not count for this one.

        Parameters
        ----------
        stream : str
            Whose partition is there.
        day : date
            UTC date of every event time in the chunks.
        watermark : int
            Highest ledger `seq` that the scores take into account.
        detector : str
            Type of the bundle that scored.
        bundle_version : int or None
            Its version; None where no bundle served and the fallback did.
        threshold : float or None
            Score in (0, 1) at which a scan's confidence is 50; readings bring their own.
        alerts : DayAlerts or None
            Tells people, in the same transaction, about rows that are news.

        Yields
        ------
        NewRows
            Takes the chunks; knows after the block what is stored.

        Raises
        ------
        StaleInput
            Before the block, when what is stored took newer input into account, or the same input
            with the champion, while `bundle_version` is not the champion.
        ValueError
            When a chunk lacks a column or holds another day.
        """
        made_by: dict[str, Any] = {"detector": detector, "bundle_version": bundle_version}
        of_day = {"stream": stream, "day": day, "threshold": threshold}
        partition = f"scored_{stream}"
        named = sql.Identifier(partition)
        with self._transactions.begin() as connection, ThreadPoolExecutor(1) as thread:
            connection.execute(_WITHOUT_LIMITS)
            refuse_stale(connection, stream, day, watermark=watermark, **made_by)

            def delete() -> None:
                if alerts is not None:
                    alerts.before(connection)
                connection.execute(_DELETE_DETECTIONS, of_day)
                connection.execute(
                    sql.SQL("DELETE FROM {} WHERE day = %(day)s").format(named), of_day
                )

            def copy(chunk: pl.DataFrame) -> int:
                rows = self.table.completed(
                    chunk, stream, day, detector=detector, version=bundle_version
                )
                with connection.cursor() as cursor:
                    return copy_frame(cursor, partition, rows, self.table.columns)

            new = NewRows(thread, delete, copy)
            yield new
            rows = new.count()
            anomalies = connection.execute(
                sql.SQL(self.table.detections).format(partition=named), of_day
            ).rowcount
            if alerts is not None:
                alerts.after(connection)
            new.stored = record_day(
                connection,
                stream,
                day,
                watermark=watermark,
                rows=rows,
                anomalies=anomalies,
                **made_by,
            )

    def note_use(self, stream: str, day: dt.date, detector: str, version: int) -> int:
        """Record that the models of a version scored rows of this day; return how many.

        A model's last use is when it last scored, not when what it scored was measured.
        """
        return self._transactions.execute(
            "UPDATE ml_models m SET last_used_at = now() "
            "FROM series_days d JOIN series s USING (series_id) "
            "WHERE d.stream = %(stream)s AND d.day = %(day)s AND m.stream = d.stream "
            "AND m.model_type = %(detector)s AND m.bundle_version = %(version)s "
            "AND m.device_id = s.entity AND m.metric_name = s.metric "
            "AND m.status IN ('active', 'inactive') "
            # An hour is fine enough, and a re-run over a month touches each row once.
            "AND (m.last_used_at IS NULL OR m.last_used_at < now() - interval '1 hour')",
            {"stream": stream, "day": day, "detector": detector, "version": version},
        )

    def count_rows(self, stream: str, day: dt.date) -> int:
        """Count the rows of a day in the table itself."""
        statement = sql.SQL("SELECT count(*) FROM {} WHERE stream = %s AND day = %s")
        name = sql.Identifier(self.table.name)
        return int(self._transactions.value(statement.format(name), (stream, day)))

    def read_day(
        self, stream: str, day: dt.date, columns: Iterable[str] | None = None
    ) -> pl.DataFrame:
        """Return a day's rows, sorted by their natural key.

        Parameters
        ----------
        stream : str
        day : date
        columns : iterable of str
            Keys of `table.columns`; all by default.
        """
        kinds = {name: self.table.columns[name] for name in columns or self.table.columns}
        with self._transactions.begin() as connection:
            return read_day(connection, self.table.name, kinds, stream, day, self.table.key)
