"""Index of series with the extent of each: rows, first and last event.

Belongs here: the extent of every (entity, metric), from which its own training window follows.

The extents are kept per series and day. That table is as many times smaller than the scores as a
series has readings a day (288 at five minutes), and it makes a day that is worked through again
replace exactly its own share, also when rows left it.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Final

import polars as pl

from anomaly_platform.storage.postgres.copying import PgType, incoming
from anomaly_platform.storage.postgres.transactions import Connection, TableAccess, lock

_EXTENT: Final[Mapping[str, PgType]] = {
    "entity": "text",
    "metric": "text",
    "rows": "int4",
    "first_event": "timestamptz",
    "last_event": "timestamptz",
    "series_id": "int8",
}


class SeriesIndex(TableAccess):
    """Reads and writes ``series`` and ``series_days``."""

    def replace_day(self, stream: str, day: dt.date, extents: pl.DataFrame) -> None:
        """Make these the series of a day, and bring the totals of all that changed up to date.

        Parameters
        ----------
        stream : str
        day : date
            UTC date.
        extents : polars.DataFrame
            A row per series: ``entity``, ``metric``, ``rows`` (> 0, with or without a value),
            ``first_event``, ``last_event``.
        """
        named = extents.with_columns(series_id=pl.lit(None, pl.Int64))
        with self._transactions.begin() as connection:
            lock(connection, "series", stream)
            with incoming(connection, named, _EXTENT):
                _replace_day(connection, {"stream": stream, "day": day})

    def extents(self, stream: str) -> pl.DataFrame:
        """Return the extent of every series that has events.

        Returns
        -------
        polars.DataFrame
            ``entity``, ``metric``, ``rows``, ``first_event``, ``last_event``, ``changed_at`` (UTC;
            null where its behaviour never changed), sorted by entity and metric.
        """
        rows = self._transactions.tuples(
            "SELECT entity, metric, rows, first_event, last_event, changed_at FROM series "
            'WHERE stream = %s AND rows > 0 ORDER BY entity COLLATE "C", metric COLLATE "C"',
            (stream,),
        )
        moment = pl.Datetime("us", "UTC")
        return pl.DataFrame(
            rows,
            schema={
                "entity": pl.String,
                "metric": pl.String,
                "rows": pl.Int64,
                **dict.fromkeys(("first_event", "last_event", "changed_at"), moment),
            },
            orient="row",
        )

    def begin_anew(
        self,
        stream: str,
        span: dt.timedelta,
        series: Sequence[tuple[str, str]] | None,
        *,
        trained_until: dt.datetime | None,
    ) -> int:
        """Record that the behaviour of series changed; return how many.

        Parameters
        ----------
        stream : str
        span : timedelta
            How long before the end of its training the change was.
        series : sequence of (entity, metric) or None
            Which; ``None`` is all of them.
        trained_until : datetime or None
            End of what was trained on; a series that fell silent before ends with its last event.
        """
        return self._transactions.execute(
            "UPDATE series s SET changed_at = greatest(s.changed_at, "
            "least(s.last_event, %(until)s) - %(span)s) WHERE s.stream = %(stream)s "
            "AND (%(all)s OR EXISTS (SELECT FROM unnest(%(entities)s::text[], "
            "%(metrics)s::text[]) AS asked (entity, metric) "
            "WHERE asked.entity = s.entity AND asked.metric = s.metric))",
            {
                "stream": stream,
                "span": span,
                "until": trained_until,
                "all": series is None,
                "entities": [entity for entity, _ in series or ()],
                "metrics": [metric for _, metric in series or ()],
            },
        )


def _replace_day(connection: Connection, key: dict[str, Any]) -> None:
    """Make what is in ``incoming`` the series of a stream's day."""
    connection.execute(
        "INSERT INTO series (stream, entity, metric) SELECT %(stream)s, i.entity, "
        "i.metric FROM incoming i LEFT JOIN series s ON s.stream = %(stream)s "
        "AND s.entity = i.entity AND s.metric = i.metric WHERE s.series_id IS NULL",
        key,
    )
    connection.execute(
        "UPDATE incoming i SET series_id = s.series_id FROM series s "
        "WHERE s.stream = %(stream)s AND s.entity = i.entity AND s.metric = i.metric",
        key,
    )
    connection.execute("ANALYZE incoming")
    connection.execute(
        """
        CREATE TEMPORARY TABLE touched ON COMMIT DROP AS
            SELECT series_id, sum(rows)::bigint AS added FROM (
                SELECT series_id, rows FROM incoming
                UNION ALL
                SELECT series_id, -rows FROM series_days
                WHERE stream = %(stream)s AND day = %(day)s
            ) changes GROUP BY series_id
        """,
        key,
    )
    connection.execute("DELETE FROM series_days WHERE stream = %(stream)s AND day = %(day)s", key)
    connection.execute(
        "INSERT INTO series_days (series_id, day, stream, rows, first_event, last_event) "
        "SELECT series_id, %(day)s, %(stream)s, rows, first_event, last_event "
        "FROM incoming",
        key,
    )
    # Two look-ups by key per series, however long its history is.
    connection.execute(
        """
        UPDATE series s SET rows = s.rows + t.added,
            first_event = (SELECT d.first_event FROM series_days d
                WHERE d.series_id = s.series_id ORDER BY d.day LIMIT 1),
            last_event = (SELECT d.last_event FROM series_days d
                WHERE d.series_id = s.series_id ORDER BY d.day DESC LIMIT 1)
        FROM touched t WHERE s.series_id = t.series_id
        """
    )
