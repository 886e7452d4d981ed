"""Rows that were refused, by reason."""

import datetime as dt
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

from anomaly_platform.queries.rows import fetch_all


@dataclass(frozen=True, slots=True)
class Refusal:
    """How many rows were refused for one reason.

    Attributes
    ----------
    source : str or None
        The file or sender of one of them.
    last : datetime
        When the newest was refused.
    """

    stream: str
    reason: str
    rows: int
    source: str | None
    last: dt.datetime


async def refusals_since(
    connection: AsyncConnection[Any], since: dt.datetime, *, limit: int
) -> list[Refusal]:
    """Return why rows were refused since a time, the commonest reason first."""
    return await fetch_all(
        connection,
        Refusal,
        "SELECT stream, reason, count(*) AS rows, max(source) AS source, "
        "max(quarantined_at) AS last FROM quarantine WHERE quarantined_at >= %(since)s "
        "GROUP BY stream, reason ORDER BY count(*) DESC, stream, reason LIMIT %(limit)s",
        {"since": since, "limit": limit},
    )
