"""Reading a day's scored rows, and replacing them in one transaction."""

import contextlib
import datetime as dt
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import polars as pl
from psycopg import sql

from anomaly_platform.storage.postgres.copying import copy_frame, read_day
from anomaly_platform.storage.postgres.transactions import Connection, Transactions
from anomaly_platform.storage.tables.scored.days import (
    DayAlerts,
    ScoredDays,
    record_day,
    refuse_stale,
)
from anomaly_platform.storage.tables.scored.new_rows import NewRows
from anomaly_platform.storage.tables.scored.table import ScoredTable

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
        beside: Callable[[Connection], None] | None = None,
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
        beside : callable or None
            Writes what else the day leaves, in the same transaction, once the block has ended.

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
            if beside is not None:
                beside(connection)

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
