"""How long scoring requests took: a histogram per hour, stream and route."""

from __future__ import annotations

import bisect
import datetime as dt
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from anomaly_platform.storage.postgres.transactions import TableAccess

#: Upper ends of the classes: six to a power of ten, so that a quantile is known to half its value.
UPPER_ENDS: Final = (
    *(round(step * 10.0**power, 6) for power in range(-4, 1) for step in (1, 1.5, 2, 3, 5, 7)),
    10.0,
    math.inf,
)
_CLASSES: Final = tuple(pairwise((0.0, *UPPER_ENDS)))

Key = tuple[str, str, float]
"""Stream, route, and upper end of a class in seconds."""


def class_of(seconds: float) -> float:
    """Return the upper end of the class that a duration is in."""
    return UPPER_ENDS[bisect.bisect_left(UPPER_ENDS, seconds)]


@dataclass(slots=True)
class Latency:
    """How long the requests to a route took.

    Attributes
    ----------
    counts : dict of float to int
        Requests by upper end of their class.
    """

    counts: dict[float, int] = field(default_factory=dict)

    @property
    def requests(self) -> int:
        """How many there were."""
        return sum(self.counts.values())

    def surely_over(self, seconds: float) -> int:
        """Return how many requests took longer for sure: their whole class lies beyond."""
        return sum(self.counts.get(end, 0) for begin, end in _CLASSES if begin >= seconds)

    def quantile(self, share: float) -> float | None:
        """Return the seconds within which a share of the requests was answered.

        Within a class they are taken as spread evenly, and in the last, which has no end, as at
        its begin. None where there were none.
        """
        wanted, below = share * self.requests, 0
        for begin, end in _CLASSES:
            here = self.counts.get(end, 0)
            if here and below + here >= wanted:
                width = end - begin if math.isfinite(end) else 0.0
                return begin + width * (wanted - below) / here
            below += here
        return None


class PredictionLatency(TableAccess):
    """Reads and writes ``prediction_latency``."""

    def add(self, hour: dt.datetime, counts: Mapping[Key, int]) -> None:
        """Add requests to an hour's histograms.

        Parameters
        ----------
        hour : datetime
            Its begin.
        counts : mapping of (stream, route, upper end) to int
        """
        with self._transactions.begin() as connection:
            connection.cursor().executemany(
                "INSERT INTO prediction_latency AS known (hour, stream, route, seconds, requests) "
                "VALUES (%s, %s, %s, %s, %s) ON CONFLICT (hour, stream, route, seconds) "
                "DO UPDATE SET requests = known.requests + excluded.requests",
                # In one order, so that workers wait for each other and never in a circle.
                [(hour, *key, counts[key]) for key in sorted(counts)],
            )

    def since(
        self, moment: dt.datetime, stream: str | None = None
    ) -> dict[tuple[str, str], Latency]:
        """Return what was measured in the hours from a moment's on, by stream and route.

        Parameters
        ----------
        moment : datetime
            The hour that it lies in is the first.
        stream : str or None
            Only its routes; None takes every stream's.
        """
        rows = self._transactions.tuples(
            "SELECT stream, route, seconds, sum(requests)::bigint FROM prediction_latency "
            "WHERE hour >= date_trunc('hour', %s) AND (%s::text IS NULL OR stream = %s) "
            "GROUP BY stream, route, seconds ORDER BY stream, route, seconds",
            (moment, stream, stream),
        )
        found: dict[tuple[str, str], Latency] = {}
        for name, route, seconds, requests in rows:
            found.setdefault((name, route), Latency()).counts[seconds] = requests
        return found


def together(latencies: Iterable[Latency]) -> Latency:
    """Return the histogram of the requests to several routes."""
    counts: dict[float, int] = {}
    for one in latencies:
        for end, requests in one.counts.items():
            counts[end] = counts.get(end, 0) + requests
    return Latency(counts)
