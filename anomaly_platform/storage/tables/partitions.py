"""Current file of the lake per stage and partition.

Belongs here: the row that makes a file visible. Does not belong here: the files (see ``lake``).
"""

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from anomaly_platform.storage.postgres.transactions import (
    Connection,
    StaleInput,
    TableAccess,
    columns_of,
    lock,
)

_FILES: Final = "files of the lake"


@dataclass(frozen=True, slots=True)
class Partition:
    """The current file of one partition of one stage.

    Attributes
    ----------
    partition : str
        The day as ``YYYY-MM-DD``, or another key of the stage's own.
    path : str
        Of the file, relative to the lake.
    watermark : int
        Highest ledger `seq` that it takes into account.
    stats : dict
        What the stage says about it.
    """

    stream: str
    stage: str
    partition: str
    path: str
    rows: int
    watermark: int
    stats: dict[str, Any]
    updated_at: dt.datetime


class Partitions(TableAccess):
    """Reads and writes ``lake_partitions``."""

    def publish(
        self,
        stream: str,
        stage: str,
        partition: str,
        *,
        path: str,
        rows: int,
        watermark: int,
        stats: Mapping[str, Any] | None = None,
        within: Connection | None = None,
    ) -> None:
        """Make a file the current one of its partition, within the caller's transaction if given.

        Raises
        ------
        StaleInput
            When the current file takes newer input into account; it stays.
        """
        with self._transactions.within(within) as connection:
            lock(connection, "partition", stream, stage, partition)
            changed = connection.execute(
                "INSERT INTO lake_partitions "
                "(stream, stage, partition, path, rows, watermark, stats) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s) "
                "ON CONFLICT (stream, stage, partition) DO UPDATE SET path = excluded.path, "
                "rows = excluded.rows, watermark = excluded.watermark, "
                "stats = excluded.stats, updated_at = now() "
                "WHERE lake_partitions.watermark <= excluded.watermark",
                (stream, stage, partition, path, rows, watermark, json.dumps(stats or {})),
            ).rowcount
            if not changed:
                raise StaleInput(
                    f"{stream}/{stage} {partition}: newer input than {watermark} is already there"
                )

    def get(self, stream: str, stage: str, partition: str) -> Partition | None:
        """Return the current file of a partition, if there is one."""
        return next(iter(self.between(stream, stage, partition, partition)), None)

    def newest(self, stream: str, *stages: str, before: str | None = None) -> Partition | None:
        """Return the current file of the last partition of some stages, if there is one.

        Parameters
        ----------
        stages
            Of a partition that several have, the file is that of the first one.
        before
            Only partitions before this one.
        """
        return self._transactions.row(
            Partition,
            f"SELECT {columns_of(Partition)} "  # noqa: S608
            "FROM lake_partitions WHERE stream = %(stream)s AND stage = ANY(%(stages)s) "
            'AND (%(before)s::text IS NULL OR partition COLLATE "C" < %(before)s) '
            'ORDER BY partition COLLATE "C" DESC, array_position(%(stages)s, stage) LIMIT 1',
            {"stream": stream, "stages": list(stages), "before": before},
        )

    def between(self, stream: str, stage: str, first: str, last: str) -> list[Partition]:
        """Return the current files from the first to the last partition inclusive, in order.

        Days as ``YYYY-MM-DD`` sort as text as they do in time.
        """
        return self._transactions.rows(
            Partition,
            f"SELECT {columns_of(Partition)} "  # noqa: S608
            "FROM lake_partitions WHERE stream = %s AND stage = %s "
            'AND partition COLLATE "C" BETWEEN %s AND %s ORDER BY partition COLLATE "C"',
            (stream, stage, first, last),
        )


def has_partitions(connection: Connection, stream: str, stage: str) -> bool:
    """Return whether a stage of a stream has any file."""
    found = connection.execute(
        "SELECT EXISTS (SELECT FROM lake_partitions WHERE stream = %s AND stage = %s)",
        (stream, stage),
    ).fetchone()
    return found is not None and bool(found[0])


def referenced_paths(connection: Connection) -> set[str]:
    """Return every path of the lake that some row refers to: all others are garbage."""
    rows = connection.execute(
        "SELECT path FROM lake_partitions "
        "UNION SELECT raw_path FROM ingest_ledger WHERE raw_path IS NOT NULL "
        "UNION SELECT path FROM bundles WHERE path IS NOT NULL AND status <> 'deleted'"
    ).fetchall()
    return {str(row[0]) for row in rows}


def keep_files(connection: Connection) -> None:
    """Keep every file of the lake where it is until the connection is closed.

    Waits until a removal that is under way has ended. Files that a snapshot refers to stay when it
    is taken after this.
    """
    connection.execute("SELECT pg_advisory_lock_shared(hashtextextended(%s, 0))", (_FILES,))


def may_remove_files(connection: Connection) -> bool:
    """Return whether nobody keeps files; until the transaction ends, nobody begins to."""
    row = connection.execute(
        "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))", (_FILES,)
    ).fetchone()
    return row is not None and bool(row[0])
