"""Prunes old rows, models that no longer serve, and files that nobody refers to.

Belongs here: the policy's ages turned into deletions, each of which can be asked what it would
remove. Dagster's runs have a module of their own, ``pruned_runs``. What serves, what a roll-back
would bring back, and what either was made from is never removed, however old it is.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, LiteralString

from anomaly_platform.registry import promotion
from anomaly_platform.settings import Settings
from anomaly_platform.storage.postgres.transactions import Connection, Transactions
from anomaly_platform.storage.tables.partitions import may_remove_files, referenced_paths

if TYPE_CHECKING:
    from anomaly_platform.storage.lake.lake import Lake

#: Answers to writes are kept for as long as a client may repeat them.
IDEMPOTENCY_HOURS: Final = 24
_REASON: Final = "inactive for longer than is kept"


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was removed, or would be.

    Attributes
    ----------
    what : str
        In words.
    count : int
        Rows, models, files or runs.
    size : int or None
        Bytes; ``None`` where nobody can tell.
    """

    what: str
    count: int
    size: int | None


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows of one table that are old enough to go."""

    what: str
    table: LiteralString
    condition: LiteralString
    age: dt.timedelta


def _aged(settings: Settings) -> tuple[_Rows, ...]:
    quarantine = dt.timedelta(days=settings.keep_quarantine_days)
    statistics = dt.timedelta(days=settings.keep_statistics_days)
    messages = dt.timedelta(days=settings.keep_messages_days)
    readings = dt.timedelta(days=settings.keep_readings_days)
    return (
        _Rows("refused rows", "quarantine", "quarantined_at < %(before)s", quarantine),
        _Rows("drift of series", "series_drift", "day < %(before)s::date", statistics),
        _Rows("drift of features", "feature_drift", "day < %(before)s::date", statistics),
        _Rows("monitoring figures", "monitoring_stats", "day < %(before)s::date", statistics),
        _Rows("prediction latencies", "prediction_latency", "hour < %(before)s", statistics),
        _Rows(
            "look-backs of series that were silent",
            "series_state",
            # The next reading brings it back, from the lake and from what waits for a batch. Goes
            # before the readings behind its snapshot do.
            "snapshot_at < %(before)s",
            readings,
        ),
        _Rows(
            "readings that a batch has",
            "online_readings",
            "received_at < %(before)s AND batch_id IS NOT NULL",
            readings,
        ),
        _Rows(
            "messages that were delivered",
            "notifications",
            "created_at < %(before)s AND routed_at IS NOT NULL AND NOT EXISTS ("
            "SELECT FROM deliveries d "
            "WHERE d.notification_id = id AND d.status = 'waiting')",
            messages,
        ),
        # No detection looks back on more than a year.
        _Rows("what the EMS was told", "ems_told", "told_at < %(before)s", dt.timedelta(days=400)),
        _Rows(
            "training requests that ended",
            "training_requests",
            # The newest of each series says when it was last asked for, and stays.
            "finished_at < %(before)s AND EXISTS (SELECT FROM training_requests newer "
            "WHERE newer.stream = training_requests.stream "
            "AND newer.entity IS NOT DISTINCT FROM training_requests.entity "
            "AND newer.metric IS NOT DISTINCT FROM training_requests.metric "
            "AND newer.created_at > training_requests.created_at)",
            messages,
        ),
        _Rows(
            "answers kept for repeats",
            "idempotency_keys",
            "created_at < %(before)s",
            dt.timedelta(hours=IDEMPOTENCY_HOURS),
        ),
        _Rows(
            "registry messages that were mirrored",
            "registry_mirror",
            "created_at < %(before)s AND status = 'done'",
            messages,
        ),
    )


def prune_rows(
    transactions: Transactions, settings: Settings, now: dt.datetime, *, dry_run: bool
) -> Iterator[Pruned]:
    """Remove rows that are older than the policy keeps them, table by table."""
    for rows in _aged(settings):
        values = {"before": now - rows.age}
        old = f"FROM {rows.table} WHERE {rows.condition}"
        counting = f"SELECT count(*), coalesce(sum(pg_column_size({rows.table}.*)), 0) {old}"
        with transactions.begin() as connection:
            ((count, size),) = connection.execute(counting, values).fetchall()
            if count and not dry_run:
                connection.execute(f"DELETE {old}", values)
        yield Pruned(rows.what, int(count), int(size))


def prunable_versions(
    connection: Connection, before: dt.datetime
) -> list[tuple[str, str, int, str | None]]:
    """Return the versions that may go: stream, detector, version, path.

    Neither the champion, nor what a roll-back brings back, nor a parent of either, nor what served
    or was made after `before`.
    """
    rows = connection.execute(
        "SELECT b.stream, b.detector, b.version, b.path, b.status, b.parent, "
        "b.created_at < %(before)s AND NOT EXISTS (SELECT FROM champion_history h "
        "    WHERE h.stream = b.stream AND h.detector = b.detector "
        "    AND (h.version = b.version OR h.previous = b.version) "
        "    AND h.promoted_at >= %(before)s) "
        "FROM bundles b ORDER BY b.stream, b.detector, b.version",
        {"before": before},
    ).fetchall()
    parents = {(s, d, v): parent for s, d, v, _, _, parent, _ in rows}
    kept: set[tuple[str, str, int]] = set()
    for stream, detector in {(row[0], row[1]) for row in rows}:
        champion = promotion.champion_of(connection, stream, detector)
        back = promotion.previous(connection, stream, detector)
        for needed in (None if champion is None else champion.version, back):
            version = needed
            while version is not None and (stream, detector, version) not in kept:
                kept.add((stream, detector, version))
                version = parents.get((stream, detector, version))
    gone = ("retired", "rejected", "failed")
    return [
        (stream, detector, version, path)
        for stream, detector, version, path, status, _, old in rows
        if old and status in gone and (stream, detector, version) not in kept
    ]


def prune_models(
    transactions: Transactions, lake: Lake, before: dt.datetime, *, dry_run: bool
) -> Pruned:
    """Mark versions that have not served since `before` as deleted.

    Their files are garbage from then on.
    """
    with transactions.begin() as connection:
        versions = prunable_versions(connection, before)
        size = sum(lake.size(path) for *_, path in versions if path)
        if not dry_run:
            for stream, detector, version, _ in versions:
                promotion.delete(connection, (stream, detector, version), _REASON)
    return Pruned("models that no longer serve", len(versions), size)


def prune_files(
    lake: Lake, transactions: Transactions, models: list[str], *, dry_run: bool
) -> Pruned:
    """Remove the lake's files that nobody refers to, unless somebody is copying the lake.

    Parameters
    ----------
    lake, transactions
        What there is, and the tables that refer to it.
    models : list of str
        Paths of versions that would be deleted first; only a dry run has any.
    """
    with transactions.begin() as connection:
        if not may_remove_files(connection):
            return Pruned("files that nobody refers to (kept until a back-up has ended)", 0, 0)

        # Asked only after the files are listed, so that one published meanwhile stays.
        def referenced() -> Iterator[str]:
            yield from referenced_paths(connection) - set(models)

        found = lake.garbage(referenced())
        if not dry_run:
            for path, _ in found:
                lake.remove(path)
    return Pruned("files that nobody refers to", len(found), sum(size for _, size in found))


def total(found: list[Pruned]) -> int:
    """Return the bytes of everything whose size is known."""
    return sum(one.size or 0 for one in found)
