"""How long this worker's scoring requests took, on its way to the table that others read.

Does not belong here: the histogram for Prometheus (``metrics.requests``), which ends with the
workers.
"""

import asyncio
import collections
import datetime as dt
import logging
from typing import Final

import psycopg

from anomaly_platform.storage.postgres.database import DatabaseError
from anomaly_platform.storage.tables.prediction_latency import Key, PredictionLatency, class_of

#: Seconds between two times that the counts are written.
_WRITE_S: Final = 60.0

_log = logging.getLogger(__name__)


class LatencyCounts:
    """Counts scoring requests by how long they took, and writes the counts once a minute.

    Parameters
    ----------
    table : PredictionLatency
        Where they go.
    """

    def __init__(self, table: PredictionLatency) -> None:
        self._table = table
        self._hour = _this_hour()
        self._counts: collections.Counter[Key] = collections.Counter()

    def count(self, stream: str, route: str, seconds: float) -> None:
        """Count one request that was answered."""
        self._counts[stream, route, class_of(seconds)] += 1

    async def write_for_ever(self) -> None:
        """Write what was counted, again and again; a database that is gone gets it later."""
        while True:
            await asyncio.sleep(_WRITE_S)
            await self.write()

    async def write(self) -> None:
        """Write what was counted since the last time."""
        hour, self._hour = self._hour, _this_hour()
        counts, self._counts = self._counts, collections.Counter()
        if not counts:
            return
        try:
            await asyncio.to_thread(self._table.add, hour, counts)
        except (psycopg.OperationalError, DatabaseError) as error:
            self._counts.update(counts)
            _log.warning("latencies wait for the database: %s", type(error).__name__)


def _this_hour() -> dt.datetime:
    return dt.datetime.now(dt.UTC).replace(minute=0, second=0, microsecond=0)
