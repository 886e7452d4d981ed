"""What waits in the platform's database, and for how long."""

from dataclasses import dataclass
from typing import Final

from anomaly_platform.queries.rows import count
from anomaly_platform.storage.postgres.transactions import Pool

#: By queue: since when an entry waits, and which rows wait.
_WAITING: Final = {
    "training_requests": ("created_at", "training_requests WHERE status = 'waiting'"),
    "deliveries": ("created_at", "deliveries WHERE status = 'waiting'"),
    "online_readings": ("received_at", "online_readings WHERE batch_id IS NULL"),
    "registry_mirror": ("created_at", "registry_mirror WHERE status = 'waiting'"),
}
_STATEMENT: Final = " UNION ALL ".join(
    f"SELECT '{name}', count(*), "  # noqa: S608 - constants
    f"coalesce(extract(epoch FROM now() - min({since})), 0) FROM {rows}"
    for name, (since, rows) in _WAITING.items()
)


@dataclass(frozen=True, slots=True)
class Queue:
    """How much waits somewhere.

    Attributes
    ----------
    depth : int
        Entries.
    oldest_s : float
        Seconds that the oldest has waited.
    """

    depth: int
    oldest_s: float


#: Rejected in the last seven days, and nothing of that name taken in since.
_REJECTED: Final = (
    "SELECT count(*) FROM ingest_ledger r WHERE r.status = 'rejected' "
    "AND r.last_seen_at > now() - interval '7 days' AND NOT EXISTS (SELECT FROM ingest_ledger i "
    "WHERE i.stream = r.stream AND i.source = r.source AND i.status = 'ingested' "
    "AND i.last_seen_at > r.last_seen_at)"
)


async def read_rejected_files(pool: Pool) -> int:
    """Return how many files were rejected lately, and not mended since."""
    async with pool.connection() as connection:
        return await count(connection, _REJECTED, {})


async def read_queues(pool: Pool) -> dict[str, Queue]:
    """Return what waits: trainings, deliveries, readings on their way to the lake, the registry."""
    async with pool.connection() as connection:
        rows = await (await connection.execute(_STATEMENT)).fetchall()
    return {name: Queue(depth, max(0.0, float(oldest))) for name, depth, oldest in rows}
