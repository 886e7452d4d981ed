"""Drift per day: of every series, and of every feature over the series.

Belongs here: the rows of ``series_drift`` and ``feature_drift``. How drift is measured is in
``ml.drift``, what is made of it in ``streams.drift``.
"""

import datetime as dt
from collections.abc import Mapping
from typing import Final

import polars as pl

from anomaly_platform.storage.postgres.copying import (
    PgType,
    copy_frame,
    polars_schema,
    read_day,
)
from anomaly_platform.storage.postgres.transactions import TableAccess, lock

_SERIES: Final[Mapping[str, PgType]] = {
    "stream": "text",
    "day": "date",
    "entity": "text",
    "metric": "text",
    "rows": "int4",
    "psi": "float8",
    "psi_noise": "float8",
    "usual_psi": "float8",
    "ks": "float8",
    "score_psi": "float8",
    "volume_ratio": "float8",
    "missing_share": "float8",
    "anomaly_share": "float8",
    "verdict": "text",
    "features": "jsonb",
    "bundle_version": "int4",
    "change": "text",
    "noise_ratio": "float8",
    "swing_ratio": "float8",
}
_FEATURES: Final[Mapping[str, PgType]] = {
    "stream": "text",
    "day": "date",
    "feature": "text",
    "psi_median": "float8",
    "psi_p90": "float8",
    "ks_median": "float8",
    "ks_p90": "float8",
    "usual_psi_median": "float8",
    "series": "int4",
    "bundle_version": "int4",
}

_SET_HERE: Final = ("stream", "day", "bundle_version")
SERIES_DRIFT_SCHEMA: Final = polars_schema(_SERIES, without=_SET_HERE)
"""A row per series of a day."""

FEATURE_DRIFT_SCHEMA: Final = polars_schema(_FEATURES, without=_SET_HERE)
"""A row per feature of a day."""


class DriftStats(TableAccess):
    """Reads and writes ``series_drift`` and ``feature_drift``."""

    def replace_day(
        self,
        stream: str,
        day: dt.date,
        *,
        series: pl.DataFrame,
        features: pl.DataFrame,
        bundle_version: int | None,
    ) -> None:
        """Make these the drift of a day, in one transaction.

        Parameters
        ----------
        stream : str
        day : date
            UTC date.
        series : polars.DataFrame
            With the columns of :data:`SERIES_DRIFT_SCHEMA`.
        features : polars.DataFrame
            With the columns of :data:`FEATURE_DRIFT_SCHEMA`.
        bundle_version : int or None
            The version whose reference it was compared with.
        """
        own = {
            "stream": pl.lit(stream),
            "day": pl.lit(day),
            "bundle_version": pl.lit(bundle_version, pl.Int32),
        }
        with self._transactions.begin() as connection:
            lock(connection, "drift", stream, day.isoformat())
            key = (stream, day)
            connection.execute("DELETE FROM series_drift WHERE stream = %s AND day = %s", key)
            connection.execute("DELETE FROM feature_drift WHERE stream = %s AND day = %s", key)
            with connection.cursor() as cursor:
                copy_frame(cursor, "series_drift", series.with_columns(**own), _SERIES)
                copy_frame(cursor, "feature_drift", features.with_columns(**own), _FEATURES)

    def of_series(self, stream: str, day: dt.date) -> pl.DataFrame:
        """Return the drift of every series on a day, with the columns of the table."""
        return self._read("series_drift", _SERIES, stream, day, "entity", "metric")

    def of_features(self, stream: str, day: dt.date) -> pl.DataFrame:
        """Return the drift of every feature on a day, with the columns of the table."""
        return self._read("feature_drift", _FEATURES, stream, day, "feature")

    def usual_psi(self, stream: str, detector: str) -> dict[str, float]:
        """Return per feature the largest PSI of a day that the champion was trained on.

        Days count that were compared with the champion's own reference; without any, nothing is
        known to be usual.
        """
        rows = self._transactions.tuples(
            "SELECT d.feature, max(d.psi_median) FROM feature_drift d "
            "JOIN champions c ON c.stream = d.stream AND c.detector = %s "
            "AND c.version = d.bundle_version JOIN bundles b ON b.stream = c.stream "
            "AND b.detector = c.detector AND b.version = c.version "
            "WHERE d.stream = %s AND d.psi_median IS NOT NULL "
            "AND d.day BETWEEN b.window_start::date AND b.window_end::date GROUP BY d.feature",
            (detector, stream),
        )
        return {str(feature): float(psi) for feature, psi in rows}

    def usual_rows(self, stream: str, detector: str) -> float | None:
        """Return the median of the rows of the scored days that the champion was trained on."""
        median = self._transactions.value(
            "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY s.rows) FROM scored_days s "
            "JOIN champions c ON c.stream = s.stream AND c.detector = %s "
            "JOIN bundles b ON b.stream = c.stream AND b.detector = c.detector "
            "AND b.version = c.version WHERE s.stream = %s "
            "AND s.day BETWEEN b.window_start::date AND b.window_end::date",
            (detector, stream),
        )
        return None if median is None else float(median)

    def _read(
        self, table: str, columns: Mapping[str, PgType], stream: str, day: dt.date, *order: str
    ) -> pl.DataFrame:
        with self._transactions.begin() as connection:
            return read_day(connection, table, columns, stream, day, order)
