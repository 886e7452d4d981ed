"""Scored days: a day is replaced as a whole, or not at all.

Belongs here: writing and counting scores and the detections that follow from them. Does not
belong here: how a score comes about (``ml.scoring``), nor verdicts given in real time, which are
never rewritten.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

import polars as pl
from psycopg import sql

from anomaly_platform.incidents.anomaly_alerts import DayAlerts
from anomaly_platform.storage.postgres.copying import PgType, copy_frame
from anomaly_platform.storage.postgres.transactions import Connection
from anomaly_platform.storage.tables.ml_models import FALLBACK, HAS_MODEL
from anomaly_platform.storage.tables.scored_days import (
    ScoredDay,
    ScoredDays,
    record_day,
    refuse_stale,
)

SCORED_COLUMNS: Final[Mapping[str, PgType]] = {
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
    "metadata": "json",
    "detector": "text",
    "bundle_version": "int4",
}
"""Columns of ``scored_<stream>`` in order."""

_OPTIONAL: Final = ("label", "entity_score", "entity_is_anomaly", "causes", "metadata")
_SET_HERE: Final = ("stream", "day", "detector", "bundle_version")

ScoreView = Literal["unit", "signed"]


class Scores(ScoredDays):
    """Reads and writes ``scored_<stream>``, ``scored_days`` and the batch's detections."""

    def ensure_stream_tables(
        self, stream: str, *, entity_field: str = "entity", score_view: ScoreView = "unit"
    ) -> None:
        """Make a metric stream's table, indexes and BI views; doing it again changes nothing.

        Parameters
        ----------
        stream : str
            Lower-case identifier.
        entity_field : str
            Name of the entity's column in the views, such as ``device_id``.
        score_view : {'unit', 'signed'}
            Scale of ``anomaly_score`` in the views: 0 to 1 (an anomaly from the threshold on), or
            1 to -1 (an anomaly at 0 and below).
        """
        with self._transactions.begin() as connection:
            connection.execute(
                "SELECT ensure_stream_tables(%s, %s, %s)", (stream, entity_field, score_view)
            )

    def has_stream_tables(self, stream: str, entity_field: str) -> bool:
        """Return whether a metric stream's views are there with this name of the entity's column.

        To ask is cheap and locks nothing, while :meth:`ensure_stream_tables` makes the views anew
        and waits for whoever reads them.
        """
        with self._transactions.begin() as connection:
            found = connection.execute(
                "SELECT count(*) FROM pg_attribute WHERE attname = %s AND NOT attisdropped "
                "AND attrelid IN (to_regclass(%s), to_regclass(%s))",
                (entity_field, f"bi_{stream}_scores", f"bi_{stream}_daily"),
            ).fetchone()
        return found is not None and found[0] == 2

    def replace_day(
        self,
        stream: str,
        day: dt.date,
        chunks: Iterable[pl.DataFrame],
        *,
        watermark: int,
        detector: str,
        bundle_version: int | None,
        alerts: DayAlerts | None = None,
    ) -> ScoredDay:
        """Replace a day's scores and its batch detections in one transaction.

        Readers see the old day until it commits, then the new one. Writers of the same day wait
        for each other.

        Parameters
        ----------
        stream : str
            Whose tables are there (:meth:`ensure_stream_tables`).
        day : date
            UTC date of every event time in the chunks.
        chunks : iterable of polars.DataFrame
            Scored rows with the columns of :data:`SCORED_COLUMNS`, except ``stream``, ``day``,
            ``detector`` and ``bundle_version``; ``label``, ``entity_score``,
            ``entity_is_anomaly``, ``causes`` and ``metadata`` may be missing. Consumed once, one
            chunk in memory at a time.
        watermark : int
            Highest ledger `seq` that the scores take into account.
        detector : str
            Type of the bundle that scored.
        bundle_version : int or None
            Its version; None where no bundle served and the statistical fallback did.
        alerts : DayAlerts or None
            Tells people, in the same transaction, about rows that are news.

        Returns
        -------
        ScoredDay
            What is stored now.

        Raises
        ------
        StaleInput
            When what is stored took newer input into account, or the same input with the
            champion, while `bundle_version` is not the champion. Nothing is changed.
        """
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
            table = f"scored_{stream}"
            connection.execute(
                sql.SQL("DELETE FROM {} WHERE day = %s").format(sql.Identifier(table)), (day,)
            )
            rows = 0
            with connection.cursor() as cursor:
                for chunk in chunks:
                    complete = _complete(
                        chunk, stream, day, detector=detector, bundle_version=bundle_version
                    )
                    rows += copy_frame(cursor, table, complete, SCORED_COLUMNS)
            anomalies = _insert_detections(connection, stream, day)
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

    def note_use(self, stream: str, day: dt.date, detector: str, version: int) -> int:
        """Record that the models of a version scored readings of this day; return how many.

        A model's last use is when it last scored, not when what it scored was measured.
        """
        with self._transactions.begin() as connection:
            return connection.execute(
                "UPDATE ml_models m SET last_used_at = now() "
                "FROM series_days d JOIN series s USING (series_id) "
                "WHERE d.stream = %(stream)s AND d.day = %(day)s AND m.stream = d.stream "
                "AND m.model_type = %(detector)s AND m.bundle_version = %(version)s "
                "AND m.device_id = s.entity AND m.metric_name = s.metric "
                "AND m.status IN ('active', 'inactive') "
                # An hour is fine enough, and a re-run over a month touches each row once.
                "AND (m.last_used_at IS NULL OR m.last_used_at < now() - interval '1 hour')",
                {"stream": stream, "day": day, "detector": detector, "version": version},
            ).rowcount

    def count_rows(self, stream: str, day: dt.date) -> int:
        """Count the rows of a day in the table itself."""
        with self._transactions.begin() as connection:
            row = connection.execute(
                "SELECT count(*) FROM scored_metrics WHERE stream = %s AND day = %s", (stream, day)
            ).fetchone()
        return 0 if row is None else int(row[0])

    def read_day(
        self, stream: str, day: dt.date, columns: Iterable[str] = tuple(SCORED_COLUMNS)
    ) -> pl.DataFrame:
        """Return a day's rows, sorted by entity, metric and time.

        Parameters
        ----------
        stream : str
        day : date
        columns : iterable of str
            Keys of :data:`SCORED_COLUMNS`.
        """
        names = list(columns)
        statement = sql.SQL(
            "SELECT {} FROM scored_metrics WHERE stream = %s AND day = %s "
            "ORDER BY entity, metric, event_time"
        ).format(
            sql.SQL(", ").join(
                sql.SQL("{}::text").format(sql.Identifier(name))
                if SCORED_COLUMNS[name] in ("uuid", "json", "jsonb")
                else sql.Identifier(name)
                for name in names
            )
        )
        with self._transactions.begin() as connection:
            rows = connection.execute(statement, (stream, day)).fetchall()
        schema = {name: _POLARS[SCORED_COLUMNS[name]] for name in names}
        return pl.DataFrame(rows, schema=schema, orient="row")


_POLARS: Final[Mapping[PgType, Any]] = {
    "bool": pl.Boolean,
    "int4": pl.Int32,
    "int8": pl.Int64,
    "float8": pl.Float64,
    "date": pl.Date,
    "timestamptz": pl.Datetime("us", "UTC"),
    "uuid": pl.String,
    "text": pl.String,
    "json": pl.String,
    "jsonb": pl.String,
}


def _complete(
    chunk: pl.DataFrame,
    stream: str,
    day: dt.date,
    *,
    detector: str,
    bundle_version: int | None,
) -> pl.DataFrame:
    missing = [
        name
        for name in SCORED_COLUMNS
        if name not in chunk.columns and name not in _OPTIONAL and name not in _SET_HERE
    ]
    if missing:
        raise ValueError(f"scored rows of {stream} {day} lack the columns {', '.join(missing)}")
    if chunk.height and not chunk.select((pl.col("event_time").dt.date() == day).all()).item():
        raise ValueError(f"scored rows of {stream} {day} hold event times of other days")
    return chunk.with_columns(
        *(pl.lit(None).alias(name) for name in _OPTIONAL if name not in chunk.columns),
        pl.lit(stream).alias("stream"),
        pl.lit(day).alias("day"),
        pl.lit(detector).alias("detector"),
        pl.lit(bundle_version, pl.Int32).alias("bundle_version"),
    )


def _insert_detections(connection: Connection, stream: str, day: dt.date) -> int:
    """Store the day's flagged readings; their ids follow from the readings."""
    return connection.execute(
        sql.SQL(
            """
            INSERT INTO anomaly_detections (
                id, model_id, stream, device_id, metric_name, value, anomaly_score, is_anomaly,
                confidence, "timestamp", metadata, source, event_id, threshold, bundle_version, day
            )
            SELECT
                md5(concat_ws(E'\\x1f', 'batch', s.stream, s.entity, s.metric,
                              extract(epoch FROM s.event_time)))::uuid,
                m.id, s.stream, s.entity, s.metric, s.value, s.score, true,
                (s.score - s.threshold) / nullif(1 - s.threshold, 0), s.event_time,
                jsonb_strip_nulls(jsonb_build_object(
                    'status', s.status, 'p_value', s.p_value,
                    'detector', CASE WHEN s.status = 'trained' OR m.{has_model}
                        THEN s.detector ELSE {fallback} END,
                    'causes', s.causes, 'label', s.label)),
                'batch', s.event_id, s.threshold, s.bundle_version, s.day
            FROM {table} s
            LEFT JOIN ml_models m ON m.stream = s.stream AND m.model_type = s.detector
                AND m.bundle_version = s.bundle_version
                AND m.device_id = s.entity AND m.metric_name = s.metric
            WHERE s.day = %s AND s.is_anomaly
            """
        ).format(
            table=sql.Identifier(f"scored_{stream}"),
            has_model=sql.SQL(HAS_MODEL),
            fallback=sql.Literal(FALLBACK),
        ),
        (day,),
    ).rowcount
