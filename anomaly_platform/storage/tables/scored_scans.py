"""Scored days of a stream of scans: a day is replaced as a whole, or not at all.

Belongs here: writing, counting and reading ``scored_barcode``, with the flagged scans in
``anomaly_detections``, where the code is the device and `scans` the metric. Does not belong here:
how a verdict comes about (``ml.barcode_scoring``).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Final

import polars as pl
from psycopg import sql

from anomaly_platform.incidents.anomaly_alerts import DayAlerts
from anomaly_platform.storage.postgres.copying import PgType, copy_frame
from anomaly_platform.storage.postgres.transactions import Connection
from anomaly_platform.storage.tables.scored_days import (
    ScoredDay,
    ScoredDays,
    record_day,
    refuse_stale,
)

SCORED_SCAN_COLUMNS: Final[Mapping[str, PgType]] = {
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
}
"""Columns of ``scored_<stream>`` in order."""

SCANS_METRIC: Final = "scans"
EVERY_CODE: Final = "*"
"""What stands for a metric of scans, and for the device of a model that judges every code."""
_SET_HERE: Final = ("day", "detector", "bundle_version")
_POLARS: Final[Mapping[PgType, pl.DataType]] = {
    "bool": pl.Boolean(),
    "int4": pl.Int32(),
    "float8": pl.Float64(),
    "date": pl.Date(),
    "timestamptz": pl.Datetime("us", "UTC"),
    "text": pl.String(),
}
SCORED_SCAN_SCHEMA: Final = pl.Schema(
    {name: _POLARS[kind] for name, kind in SCORED_SCAN_COLUMNS.items() if name not in _SET_HERE}
)
"""The columns that a scored frame has to bring."""


class ScanScores(ScoredDays):
    """Reads and writes ``scored_<stream>`` and ``scored_days`` of streams of scans."""

    def replace_day(
        self,
        stream: str,
        day: dt.date,
        chunks: Iterable[pl.DataFrame],
        *,
        watermark: int,
        detector: str,
        bundle_version: int | None,
        threshold: float,
        alerts: DayAlerts | None = None,
    ) -> ScoredDay:
        """Replace a day's scores, and its flagged scans, in one transaction.

        Readers see the old day until it commits, then the new one. Writers of the same day wait
        for each other.

        Parameters
        ----------
        stream : str
        day : date
            UTC date of every event time in the chunks.
        chunks : iterable of polars.DataFrame
            With the columns of :data:`SCORED_SCAN_SCHEMA`. Consumed once.
        watermark : int
            Highest ledger `seq` that the scores take into account.
        detector, bundle_version : str, int or None
            Which set of models scored; None where only the rules spoke.
        threshold : float
            Score in (0, 1) at which the confidence is 50.
        alerts : DayAlerts or None
            Tells people, in the same transaction, about rows that are news.

        Raises
        ------
        StaleInput
            When what is stored took newer input into account, or the same input with the
            champion, while `bundle_version` is not the champion. Nothing is changed.
        ValueError
            When a chunk lacks a column or holds another day.
        """
        table = f"scored_{stream}"
        with self._transactions.begin() as connection:
            refuse_stale(
                connection,
                stream,
                day,
                watermark=watermark,
                detector=detector,
                bundle_version=bundle_version,
            )
            if alerts is not None:
                alerts.before(connection)
            connection.execute(
                "DELETE FROM anomaly_detections "
                "WHERE stream = %s AND day = %s AND source = 'batch'",
                (stream, day),
            )
            connection.execute(
                sql.SQL("DELETE FROM {} WHERE day = %s").format(sql.Identifier(table)), (day,)
            )
            rows = 0
            with connection.cursor() as cursor:
                for chunk in chunks:
                    complete = _checked(chunk, stream, day).with_columns(
                        pl.lit(day).alias("day"),
                        pl.lit(detector).alias("detector"),
                        pl.lit(bundle_version, pl.Int32).alias("bundle_version"),
                    )
                    rows += copy_frame(cursor, table, complete, SCORED_SCAN_COLUMNS)
            anomalies = _insert_detections(connection, stream, day, threshold)
            if alerts is not None:
                alerts.after(connection)
            return record_day(
                connection,
                stream,
                day,
                watermark=watermark,
                detector=detector,
                bundle_version=bundle_version,
                rows=rows,
                anomalies=anomalies,
            )

    def count_rows(self, stream: str, day: dt.date) -> int:
        """Count the rows of a day in the table itself."""
        with self._transactions.begin() as connection:
            row = connection.execute(
                sql.SQL("SELECT count(*) FROM {} WHERE day = %s").format(
                    sql.Identifier(f"scored_{stream}")
                ),
                (day,),
            ).fetchone()
        return 0 if row is None else int(row[0])

    def read_day(
        self, stream: str, day: dt.date, columns: Iterable[str] = tuple(SCORED_SCAN_COLUMNS)
    ) -> pl.DataFrame:
        """Return a day's rows, sorted by code, time and the rest of the natural key.

        Parameters
        ----------
        stream : str
        day : date
        columns : iterable of str
            Keys of :data:`SCORED_SCAN_COLUMNS`.
        """
        names = list(columns)
        statement = sql.SQL(
            "SELECT {} FROM {} WHERE day = %s "
            "ORDER BY epc_code, event_time, location_id, business_step, event_type"
        ).format(sql.SQL(", ").join(map(sql.Identifier, names)), sql.Identifier(f"scored_{stream}"))
        with self._transactions.begin() as connection:
            rows = connection.execute(statement, (day,)).fetchall()
        schema = {name: _POLARS[SCORED_SCAN_COLUMNS[name]] for name in names}
        return pl.DataFrame(rows, schema=schema, orient="row")


def _insert_detections(connection: Connection, stream: str, day: dt.date, threshold: float) -> int:
    """Store the day's flagged scans; their ids follow from the scans' natural keys."""
    return connection.execute(
        sql.SQL(
            """
            INSERT INTO anomaly_detections (
                id, model_id, stream, device_id, metric_name, anomaly_score, is_anomaly,
                confidence, "timestamp", metadata, source, event_id, threshold, bundle_version, day
            )
            SELECT
                md5(jsonb_build_array('batch', %(stream)s::text, s.epc_code,
                    extract(epoch FROM s.event_time), s.location_id, s.business_step,
                    s.event_type)::text)::uuid,
                m.id, %(stream)s, s.epc_code, %(metric)s,
                %(threshold)s + (1 - %(threshold)s) * (s.final_confidence - 50) / 50, true,
                (s.final_confidence - 50) / 50, s.event_time,
                jsonb_strip_nulls(jsonb_build_object(
                    'event_id', s.event_id, 'place', s.place, 'event_type', s.event_type,
                    'severity', s.severity, 'final_confidence', s.final_confidence,
                    'explanation', s.explanation, 'detector', s.detector, 'label', s.label)),
                'batch', md5(jsonb_build_array(%(stream)s::text, s.event_id)::text)::uuid,
                %(threshold)s, s.bundle_version, s.day
            FROM {table} s
            LEFT JOIN ml_models m ON m.stream = %(stream)s AND m.model_type = s.detector
                AND m.bundle_version = s.bundle_version
                AND m.device_id = %(every)s AND m.metric_name = %(metric)s
            WHERE s.day = %(day)s AND s.is_anomaly
            """
        ).format(table=sql.Identifier(f"scored_{stream}")),
        {
            "stream": stream,
            "day": day,
            "threshold": threshold,
            "metric": SCANS_METRIC,
            "every": EVERY_CODE,
        },
    ).rowcount


def _checked(chunk: pl.DataFrame, stream: str, day: dt.date) -> pl.DataFrame:
    missing = [name for name in SCORED_SCAN_SCHEMA if name not in chunk.columns]
    if missing:
        raise ValueError(f"scored rows of {stream} {day} lack the columns {', '.join(missing)}")
    if chunk.height and not chunk.select((pl.col("event_time").dt.date() == day).all()).item():
        raise ValueError(f"scored rows of {stream} {day} hold event times of other days")
    return chunk
