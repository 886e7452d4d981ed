"""Which model serves each stream, since when, and why this one."""

import datetime as dt
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

from anomaly_platform.queries.rows import fetch_all


@dataclass(frozen=True, slots=True)
class ServingModel:
    """The version in service of one detector.

    Attributes
    ----------
    reason : str
        Why it was promoted.
    window_end : datetime or None
        End of what it was trained on.
    versions : int
        How many versions the detector has.
    """

    stream: str
    detector: str
    version: int
    promoted_at: dt.datetime
    reason: str
    trained_at: dt.datetime | None
    window_end: dt.datetime | None
    versions: int


async def serving_models(connection: AsyncConnection[Any]) -> list[ServingModel]:
    """Return what serves, by stream and detector."""
    return await fetch_all(
        connection,
        ServingModel,
        """
        SELECT c.stream, c.detector, c.version, c.promoted_at, c.reason, b.trained_at,
            b.window_end, (SELECT count(*) FROM bundles v WHERE v.stream = c.stream
                AND v.detector = c.detector) AS versions
        FROM champions c JOIN bundles b USING (stream, detector, version)
        ORDER BY c.stream, c.detector
        """,
        {},
    )
