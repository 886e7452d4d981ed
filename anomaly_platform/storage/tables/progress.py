"""How far a stream has come: the watermarks of its days, and the account of its rows."""

from dataclasses import dataclass
from datetime import date, datetime

from anomaly_platform.storage.postgres.transactions import TableAccess
from anomaly_platform.streams.staleness import DayState, StreamState


@dataclass(frozen=True, slots=True)
class Account:
    """Where the rows of a stream are. Nothing is lost when `missing` is 0.

    Attributes
    ----------
    rows_in : int
        Readings in the files that were taken in; a wide file has one per cell.
    scored, quarantined, duplicates : int
        Readings in the scored table, in quarantine, and counted as repeats.
    anomalies : int
        Scored readings that were flagged.
    pending : int
        Readings of days that are not scored yet.
    """

    rows_in: int
    scored: int
    quarantined: int
    duplicates: int
    anomalies: int
    pending: int

    @property
    def missing(self) -> int:
        """Readings that are nowhere: always 0, or something is broken."""
        return self.rows_in - self.scored - self.quarantined - self.duplicates - self.pending


@dataclass(frozen=True, slots=True)
class Done:
    """What was done of a stream since a time.

    Attributes
    ----------
    rows_in : int
        Readings in the files that were taken in.
    scored, anomalies : int
        Readings of the days that were scored, each as a whole, and how many of them were flagged.
    quarantined, duplicates : int
        Readings that were refused, and repeats, in the days that were validated, each as a whole;
        refusals that belong to no day are those of the files.
    first_day, last_day : date or None
        Of the days that were scored.
    """

    rows_in: int
    scored: int
    quarantined: int
    duplicates: int
    anomalies: int
    first_day: date | None
    last_day: date | None


class Progress(TableAccess):
    """Reads what the stages have recorded about themselves."""

    def first_days(self) -> dict[str, date]:
        """Return the first event day of each stream that has data."""
        days = self._transactions.tuples("SELECT stream, min(day) FROM raw_days GROUP BY stream")
        return dict(days)

    def state(self, stream: str, detector: str, min_training_samples: int) -> StreamState:
        """Return the stream's watermarks, champion and trainable series at one instant."""
        with self._transactions.begin() as connection:
            days = connection.execute(
                """
                SELECT r.day, r.seq, f.watermark, s.watermark, s.bundle_version,
                    u.path, coalesce(u.stats ->> 'before', ''),
                    c.path, coalesce(c.stats ->> 'before', '')
                FROM (SELECT day, max(seq) AS seq FROM raw_days WHERE stream = %(stream)s
                      -- A sender's clock may be ahead of midnight: its day waits for its turn.
                      AND day <= (now() AT TIME ZONE 'UTC')::date
                      GROUP BY day) r
                LEFT JOIN lake_partitions f ON f.stream = %(stream)s AND f.stage = 'features'
                    AND f.partition = to_char(r.day, 'YYYY-MM-DD')
                LEFT JOIN scored_days s ON s.stream = %(stream)s AND s.day = r.day
                LEFT JOIN lake_partitions u ON u.stream = %(stream)s AND u.stage = 'run_states'
                    AND u.partition = to_char(r.day, 'YYYY-MM-DD')
                LEFT JOIN lake_partitions c ON c.stream = %(stream)s
                    AND c.stage = 'call_states.' || coalesce(s.bundle_version, 0)
                    AND c.partition = to_char(r.day, 'YYYY-MM-DD')
                ORDER BY r.day
                """,
                {"stream": stream},
            ).fetchall()
            ((champion, trainable, trained),) = connection.execute(
                """
                SELECT
                    (SELECT version FROM champions
                     WHERE stream = %(stream)s AND detector = %(detector)s),
                    (SELECT count(*) FROM series
                     WHERE stream = %(stream)s AND rows >= %(least)s),
                    (SELECT coalesce(max((parameters ->> 'watermark')::bigint), 0) FROM bundles
                     WHERE stream = %(stream)s AND detector = %(detector)s)
                """,
                {"stream": stream, "detector": detector, "least": min_training_samples},
            ).fetchall()
        return StreamState([DayState(*day) for day in days], champion, trainable, trained)

    def rows_by_digest(self, stream: str) -> dict[str, int]:
        """Return how many rows of each ingested file have an event day."""
        rows = self._transactions.tuples(
            "SELECT digest, sum(rows) FROM raw_days WHERE stream = %s GROUP BY digest",
            (stream,),
        )
        return {str(digest): int(count) for digest, count in rows}

    def done_since(self, stream: str, since: datetime) -> Done:
        """Count what was written of the stream since a time of the database's clock."""
        (row,) = self._transactions.tuples(
            """
            SELECT
                (SELECT coalesce(sum(rows_in), 0)::bigint FROM ingest_ledger
                 WHERE stream = %(stream)s AND status = 'ingested' AND ingested_at >= %(since)s),
                coalesce(sum(rows), 0)::bigint,
                (SELECT count(*) FROM quarantine
                 WHERE stream = %(stream)s AND row_number > 0 AND quarantined_at >= %(since)s),
                (SELECT coalesce(sum((stats ->> 'duplicates')::bigint), 0)::bigint
                 FROM lake_partitions WHERE stream = %(stream)s AND stage = 'validated_events'
                     AND updated_at >= %(since)s),
                coalesce(sum(anomalies), 0)::bigint, min(day), max(day)
            FROM scored_days WHERE stream = %(stream)s AND written_at >= %(since)s
            """,
            {"stream": stream, "since": since},
        )
        return Done(*row)

    def account(self, stream: str) -> Account:
        """Count the stream's rows at one instant, in the tables that BI reads."""
        with self._transactions.begin() as connection:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            (row,) = connection.execute(
                """
                SELECT
                    (SELECT coalesce(sum(rows_in), 0) FROM ingest_ledger
                     WHERE stream = %(stream)s AND status = 'ingested'),
                    table_rows.scored,
                    (SELECT count(*) FROM quarantine WHERE stream = %(stream)s AND row_number > 0),
                    (SELECT coalesce(sum((p.stats ->> 'duplicates')::bigint), 0)
                     FROM lake_partitions p JOIN scored_days s ON s.stream = p.stream
                         AND p.partition = to_char(s.day, 'YYYY-MM-DD')
                     WHERE p.stream = %(stream)s AND p.stage = 'validated_events'),
                    table_rows.anomalies,
                    (SELECT coalesce(sum(r.rows), 0) FROM raw_days r WHERE r.stream = %(stream)s
                     AND NOT EXISTS (SELECT FROM scored_days s WHERE s.stream = r.stream
                                     AND s.day = r.day AND s.watermark >= r.seq))
                FROM (SELECT coalesce(sum(scored), 0) AS scored,
                             coalesce(sum(anomalies), 0) AS anomalies
                      FROM (SELECT count(*) AS scored,
                                   count(*) FILTER (WHERE is_anomaly) AS anomalies
                            FROM scored_metrics WHERE stream = %(stream)s
                            UNION ALL
                            SELECT count(*), count(*) FILTER (WHERE is_anomaly)
                            FROM scored_scans WHERE stream = %(stream)s) counted) table_rows
                """,
                {"stream": stream},
            ).fetchall()
        return Account(*map(int, row))
