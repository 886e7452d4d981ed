"""Prometheus metrics that the workers of the API count and time.

Belongs here: the metrics that live in the workers, and their sum over all of them. Does not belong
here: what the database knows (``metrics.database``).

With several workers each writes its numbers to files in ``PROMETHEUS_MULTIPROC_DIR``, which
``anomaly api`` sets and empties; whichever worker is asked adds them up. Every label has few
values: streams, route templates, statuses, and never what a client sends.
"""

import collections
import os
from functools import lru_cache
from pathlib import Path
from typing import Final

import psutil
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from anomaly_platform.serving.champions.models import ModelStore
from anomaly_platform.serving.metrics.folder import DIRECTORY_VARIABLE

_SECONDS: Final = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

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
    predictions, found = _of_stream(stream)
    predictions.inc(rows)
    if anomalies:
        found.inc(anomalies)


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
    requests, request_seconds = _of_route(method, route, status)
    requests.inc()
    request_seconds.observe(seconds)
    reason = refused_as or _REASONS.get(status)
    if reason is not None:
        REFUSED.labels(reason).inc()
    if scored:
        _predictions_of(route).observe(seconds)


# The client library looks its series up slowly; there are as many as routes and statuses.
@lru_cache(maxsize=4096)
def _of_route(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    return REQUESTS.labels(method, route, str(status)), REQUEST_SECONDS.labels(method, route)


_predictions_of = lru_cache(maxsize=64)(PREDICTION_SECONDS.labels)


@lru_cache(maxsize=256)
def _of_stream(stream: str) -> tuple[Counter, Counter]:
    return PREDICTIONS.labels(stream), ANOMALIES.labels(stream)


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
    """Take this worker's gauges out of the sum; its counts stay."""
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
