"""Whether scoring requests are answered in time, route by route: a good mean hides a slow one."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from anomaly_platform.storage.tables.prediction_latency import Latency, PredictionLatency, together

#: What the daily upkeep, the checks and a model's performance look back on.
LOOKED_AT: Final = dt.timedelta(hours=24)
#: Share of the requests that has to be answered within the target.
IN_TIME: Final = 0.95
#: Requests from which on that share tells something.
_TELLING: Final = 100


@dataclass(frozen=True, slots=True)
class LatencyLook:
    """How long scoring requests took.

    Attributes
    ----------
    slow : list of str
        Routes that miss their target, with their figures.
    seen : str
        All routes together.
    p95, p99 : float or None
        Seconds, of all routes together; None where there was no request.
    """

    slow: list[str]
    seen: str
    p95: float | None
    p99: float | None


def look_at_latency(
    found: Mapping[tuple[str, str], Latency], targets: Mapping[str, float]
) -> LatencyLook:
    """Judge the latencies of routes.

    Parameters
    ----------
    found : mapping of (stream, route) to Latency
    targets : mapping of str to float
        Seconds by stream; a stream without any is not judged.
    """
    slow = [
        f"{route} of {stream}: {_told(latency)}, {_milliseconds(targets[stream])} is the target"
        for (stream, route), latency in found.items()
        if stream in targets
        and latency.requests >= _TELLING
        and latency.surely_over(targets[stream]) > (1 - IN_TIME) * latency.requests
    ]
    every = together(found.values())
    seen = _told(every) if every.requests else "no scoring request"
    return LatencyLook(slow, seen, every.quantile(0.95), every.quantile(0.99))


def latency_of(table: PredictionLatency, stream: str, target: float) -> LatencyLook:
    """Judge the latencies of a stream's routes in the last 24 hours.

    Parameters
    ----------
    table : PredictionLatency
    stream : str
    target : float
        Seconds.
    """
    since = dt.datetime.now(dt.UTC) - LOOKED_AT
    return look_at_latency(table.since(since, stream), {stream: target})


def _told(latency: Latency) -> str:
    p95, p99 = (_milliseconds(latency.quantile(share) or 0.0) for share in (0.95, 0.99))
    return f"p95 {p95}, p99 {p99} in {latency.requests:,} requests"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
