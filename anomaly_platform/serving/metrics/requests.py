"""Prometheus metrics that the workers of the API count and time.

Belongs here: the metrics that live in the workers, and their sum over all of them. Does not belong
here: what the database knows (``metrics.database``).

With several workers each writes its numbers to files in ``PROMETHEUS_MULTIPROC_DIR``, which
``anomaly api`` sets and empties; whichever worker is asked adds them up. Writing costs a tenth of a
prediction, so that what requests count is put together for a moment and written at once. Every
label has few values: streams, route templates, statuses, and never what a client sends.
"""

import asyncio
import collections
import os
from bisect import bisect_left
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge
from prometheus_client import Histogram as ClientHistogram
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from anomaly_platform.serving.champions.models import ModelStore
from anomaly_platform.serving.metrics.folder import DIRECTORY_VARIABLE

_SECONDS: Final = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
#: Seconds for which what was counted may wait to be written, which takes as long as a prediction.
_WAITS_S: Final = 0.05
COUNTED_S: Final = 2 * _WAITS_S
"""Seconds after an answer within which its worker has counted it."""

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@dataclass(slots=True)
class _Times:
    """Seconds that were observed: their sum, and how many lie in each class of the histograms."""

    total: float = 0.0
    counts: list[int] = field(default_factory=lambda: [0] * (len(_SECONDS) + 1))

    def add(self, seconds: float) -> None:
        self.total += seconds
        self.counts[bisect_left(_SECONDS, seconds)] += 1


class Histogram(ClientHistogram):
    """A histogram that takes many observations at once."""

    def observe_all(self, times: _Times) -> None:
        """Add observations, sorted into the classes already."""
        self._sum.inc(times.total)
        for bucket, count in zip(self._buckets, times.counts, strict=True):
            if count:
                bucket.inc(count)


REQUESTS: Final = Counter(
    "anomaly_http_requests", "Requests that were answered.", ("method", "route", "status")
)
REQUEST_SECONDS: Final = Histogram(
    "anomaly_http_request_duration_seconds",
    "From the first byte of a request to the last of its answer.",
    ("method", "route"),
    buckets=_SECONDS,
)
PREDICTION_SECONDS: Final = Histogram(
    "anomaly_prediction_duration_seconds",
    "The same, of requests that were answered with scores.",
    ("route",),
    buckets=_SECONDS,
)
PREDICTIONS: Final = Counter(
    "anomaly_predictions", "Readings and scans that were scored in real time.", ("stream",)
)
ANOMALIES: Final = Counter(
    "anomaly_anomalies", "Those of them that were found anomalous.", ("stream",)
)
REFUSED: Final = Counter(
    "anomaly_http_refused",
    "Requests refused before they were looked at: no or a wrong key, too many, too large.",
    ("reason",),
)
CACHE_LOOKUPS: Final = Counter(
    "anomaly_model_cache_lookups", "Look-ups of a model in memory.", ("result",)
)
CACHE_EVICTIONS: Final = Counter(
    "anomaly_model_cache_evictions", "Models that had to make room for others."
)
CACHE_BYTES: Final = Gauge(
    "anomaly_model_cache_bytes",
    "Bytes that models in memory take, over all workers.",
    multiprocess_mode="livesum",
)
MODEL_SWAPS: Final = Counter(
    "anomaly_model_swaps", "Champions that workers took into service while they ran."
)
LOAD_PROBLEMS: Final = Gauge(
    "anomaly_model_load_problems",
    "Streams whose champion a worker could not load.",
    multiprocess_mode="livemax",
)
REDIS_UP: Final = Gauge(
    "anomaly_redis_up",
    "0 where Redis is set and a worker gets no answer from it, 1 otherwise.",
    multiprocess_mode="livemin",
)

_REASONS: Final = {401: "unauthenticated", 403: "scope", 413: "too_large", 429: "rate_limit"}


def count_scored(stream: str, rows: int, anomalies: int) -> None:
    """Count what was scored in real time.

    Parameters
    ----------
    stream : str
        Name of the stream.
    rows, anomalies : int
        Readings or scans with a verdict, and how many of them are anomalies.
    """
    _waiting.scored[stream] += rows
    _waiting.anomalies[stream] += anomalies
    _waiting.be_written()


def count_request(
    method: str,
    route: str,
    status: int,
    seconds: float,
    *,
    scored: bool,
    refused_as: str | None = None,
) -> None:
    """Count and time one answered request.

    Parameters
    ----------
    method : str
        Of HTTP; one that is not known counts as ``OTHER``.
    route : str
        Template of the route, never the path.
    status : int
    seconds : float
    scored : bool
        Whether the answer has scores.
    refused_as : str or None
        Why it was refused, where the status does not tell.
    """
    if method not in _METHODS:
        method = "OTHER"
    _waiting.requests[method, route, status, scored].add(seconds)
    reason = refused_as or _REASONS.get(status)
    if reason is not None:
        REFUSED.labels(reason).inc()
    _waiting.be_written()


class _Waiting:
    """What requests counted, and nobody has written yet; for the thread of the event loop."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._begin()

    def _begin(self) -> None:
        self.requests: collections.defaultdict[tuple[str, str, int, bool], _Times] = (
            collections.defaultdict(_Times)
        )
        self.scored: collections.Counter[str] = collections.Counter()
        self.anomalies: collections.Counter[str] = collections.Counter()

    def be_written(self) -> None:
        """See to it that what waits is written soon; where no loop runs, at once."""
        if self._loop is not None and not self._loop.is_closed():
            return
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            self.write()
            return
        self._loop.call_later(_WAITS_S, self.write)

    def write(self) -> None:
        """Add all to the metrics."""
        requests, scored, anomalies = self.requests, self.scored, self.anomalies
        self._begin()
        self._loop = None
        for (method, route, status, has_scores), times in requests.items():
            REQUESTS.labels(method, route, str(status)).inc(sum(times.counts))
            REQUEST_SECONDS.labels(method, route).observe_all(times)
            if has_scores:
                PREDICTION_SECONDS.labels(route).observe_all(times)
        for stream, rows in scored.items():
            PREDICTIONS.labels(stream).inc(rows)
            ANOMALIES.labels(stream).inc(anomalies[stream])


_waiting: Final = _Waiting()


class ModelNumbers:
    """Copies the counts of the model store to the metrics, so that no look-up pays for it."""

    def __init__(self) -> None:
        self._told: collections.Counter[str] = collections.Counter()

    def update(self, models: ModelStore) -> None:
        """Add what has been counted since the last time."""
        counted = models.lookups + collections.Counter(swaps=models.swaps)
        # While a version is replaced, its counts are missing for a moment.
        new, self._told = counted - self._told, counted | self._told
        CACHE_LOOKUPS.labels("hit").inc(new["hits"])
        CACHE_LOOKUPS.labels("miss").inc(new["misses"])
        CACHE_EVICTIONS.inc(new["evictions"])
        MODEL_SWAPS.inc(new["swaps"])
        CACHE_BYTES.set(models.bytes_held)
        LOAD_PROBLEMS.set(len(models.problems))


def worker_ended() -> None:
    """Write what waits, and take this worker's gauges out of the sum; its counts stay."""
    _waiting.write()
    if DIRECTORY_VARIABLE in os.environ:
        mark_process_dead(os.getpid())  # type: ignore[no-untyped-call]


def worker_registry() -> CollectorRegistry:
    """Return what all workers have counted, as a registry that can be read once."""
    folder = os.environ.get(DIRECTORY_VARIABLE)
    if folder is None:
        return REGISTRY
    _forget_dead(Path(folder))
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return registry


def _forget_dead(folder: Path) -> None:
    """Take the gauges of workers that were killed out of the sum."""
    endings = {file.stem.rpartition("_")[2] for file in folder.glob("gauge_live*.db")}
    for number in map(int, filter(str.isdigit, endings)):
        if not psutil.pid_exists(number):
            mark_process_dead(number)  # type: ignore[no-untyped-call]
