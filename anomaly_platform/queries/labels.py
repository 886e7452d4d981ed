"""What people said about readings: the rows of ``feedback_labels``, superseded ones included."""

import datetime as dt
import uuid
from dataclasses import asdict, dataclass
from typing import Any, Final

from psycopg import AsyncConnection

from anomaly_platform.labelling.labels import Label
from anomaly_platform.queries.rows import count, fetch_all
from anomaly_platform.storage.postgres.transactions import columns_of

_FILTER: Final = (
    "FROM feedback_labels WHERE (%(stream)s::text IS NULL OR stream = %(stream)s) "
    "AND (%(entity)s::text IS NULL OR entity = %(entity)s) "
    "AND (%(metric)s::text IS NULL OR metric = %(metric)s)"
)


@dataclass(frozen=True, slots=True)
class LabelFilter:
    """Which labels are listed; None means any."""

    stream: str | None
    entity: str | None
    metric: str | None


async def list_labels(
    connection: AsyncConnection[Any],
    chosen: LabelFilter,
    *,
    after: tuple[dt.datetime, uuid.UUID] | None,
    limit: int,
) -> list[Label]:
    """Return labels, the newest first, at most `limit` after a sort key (time and id)."""
    time, identity = after or (None, None)
    return await fetch_all(
        connection,
        Label,
        f"SELECT {columns_of(Label)} {_FILTER} "
        "AND (%(time)s::timestamptz IS NULL OR (created_at, id) < (%(time)s, %(id)s)) "
        "ORDER BY created_at DESC, id DESC LIMIT %(limit)s",
        {**asdict(chosen), "time": time, "id": identity, "limit": limit},
    )


async def count_labels(connection: AsyncConnection[Any], chosen: LabelFilter) -> int:
    """Return how many labels fit."""
    return await count(connection, f"SELECT count(*) {_FILTER}", asdict(chosen))
