"""One version in service, as a request sees it from start to end.

Belongs here: the view of a metric stream's bundle, and of a stream's barcode models. What is in
service at the moment is the business of ``champions.models``.
"""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from anomaly_platform.streams import MetricStream, ScanStream

if TYPE_CHECKING:
    from anomaly_platform.ml.bundles.bundle import Bundle
    from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
    from anomaly_platform.ml.scans.scoring import BarcodeModels
    from anomaly_platform.ml.scoring.online import OnlineScorer
    from anomaly_platform.ml.scoring.shared_calibrations import SharedCalibrations
    from anomaly_platform.ml.series_model.model import SeriesModel

TRAINED: Final = "trained"
INSUFFICIENT: Final = "insufficient_history"
FAILED: Final = "failed"

LANES: Final = 2
"""Threads that take readings in, at most: each has models of its own."""

#: Predictions hold half of the models.
_LANE_SHARE: Final = 2 * LANES

Key = tuple[str, str]
"""Entity and metric."""

Kept = TypeVar("Kept")


@dataclass(frozen=True, slots=True)
class SeriesEntry:
    """What a bundle knows of a series without its arrays.

    Attributes
    ----------
    status
        ``trained``, ``insufficient_history`` or ``failed``.
    slot
        Where its arrays are, None without.
    pool_index, entity_index
        Its shared calibrations, None where it has none.
    model_id
        Of its row in ``ml_models``.
    """

    status: str
    slot: int | None
    pool_index: int | None
    entity_index: int | None
    model_id: str | None = None


_UNKNOWN: Final = SeriesEntry(INSUFFICIENT, None, None, None)


class ServedMetrics:
    """The version of a metric stream that serves; without one, the statistical fallback does.

    Attributes
    ----------
    stream
        The stream.
    version, digest
        Of the bundle, None while nothing has been promoted.
    feature_set
        What the models were trained on, and what a look-back has to be kept for.
    alpha, threshold
        Of the stream; single series may have a threshold of their own (see ``thresholds``).
    series
        Everything that the bundle knows and that has not been deleted, by (entity, metric).
    """

    def __init__(
        self,
        stream: MetricStream,
        *,
        alpha: float,
        threshold: float,
        models_held: int,
        version: int | None = None,
        bundle: Bundle | None = None,
        deleted: frozenset[Key] = frozenset(),
        on_damage: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Read what the bundle knows of its series, but none of their models.

        Raises
        ------
        ValueError
            When it was trained on features that this code no longer computes.
        """
        self.stream = stream
        self.version = version
        self.bundle = bundle
        self.digest = None if bundle is None else bundle.digest
        self.alpha = alpha
        self.threshold = threshold
        self.deleted = deleted
        self.models_held = models_held
        self.feature_set: MetricFeatureSet = stream.features
        self.series: dict[Key, SeriesEntry] = {}
        self.entities: SharedCalibrations | None = None
        self._pools: SharedCalibrations | None = None
        self._on_damage = on_damage
        #: By the writer that has it; None is that of predictions.
        self._scorers: dict[int | None, OnlineScorer] = {}
        self._kept: dict[int, Any] = {}
        self._is_replaced = False
        self._lock = threading.Lock()
        if bundle is not None:
            self._read(bundle)

    def _read(self, bundle: Bundle) -> None:
        from anomaly_platform.ml.scoring.checking import feature_set_of
        from anomaly_platform.ml.scoring.shared_calibrations import SharedCalibrations

        self.feature_set = feature_set_of(bundle)
        self.alpha = float(bundle.manifest["hyper_parameters"]["alpha"])
        self._pools = SharedCalibrations(bundle, "pool")
        self.entities = SharedCalibrations(bundle, "entity")
        columns = ("entity", "metric", "status", "slot", "pool_index", "entity_index")
        self.series = {
            (entity, metric): SeriesEntry(
                *(status, slot, pool, entity_index),
                str(model_id(self.stream.name, self.detector, self.version or 0, entity, metric)),
            )
            for entity, metric, status, slot, pool, entity_index in bundle.series.select(
                columns
            ).iter_rows()
            if (entity, metric) not in self.deleted
        }

    @cached_property
    def frequency(self) -> int:
        """Microseconds between two readings of a series, as expected."""
        return round(self.feature_set.frequency.total_seconds() * 1e6)

    @property
    def detector(self) -> str:
        """The detector that the bundle is of."""
        return self.stream.scored_by

    def entry(self, entity: str, metric: str) -> SeriesEntry:
        """Return what is known of a series; one that is not known has too little history."""
        return self.series.get((entity, metric), _UNKNOWN)

    def status(self, entity: str, metric: str) -> str:
        """Return ``trained``, ``insufficient_history`` or ``failed``."""
        return self.series.get((entity, metric), _UNKNOWN).status

    def load_model(self, entity: str, metric: str) -> SeriesModel | None:
        """Read and verify a series' model, None where there is none for it."""
        entry = self.series.get((entity, metric))
        if entry is None or entry.slot is None or self.bundle is None:
            return None
        # After that: of new series, thousands a second are asked for, and an import takes its time.
        from anomaly_platform.ml.bundles.format import BundleError

        try:
            return self._model_of(entry, entry.slot, self.bundle, f"{entity} {metric}")
        except BundleError as error:
            # One damaged series is that series' trouble: the fallback stands in for its model.
            self.series[entity, metric] = replace(entry, status=FAILED, slot=None)
            self._on_damage(f"{entity} {metric}: {error}")
            return None

    def _model_of(self, entry: SeriesEntry, slot: int, bundle: Bundle, whose: str) -> SeriesModel:
        from anomaly_platform.ml.scoring.checking import read_series

        model = read_series(bundle, self.feature_set, slot, whose)
        if entry.pool_index is not None and self._pools is not None:
            model = replace(model, calibration=self._pools.at(entry.pool_index))
        return model

    def trained_until(self, entity: str, metric: str) -> int | None:
        """Return when a series' newest training reading was, None where nobody knows."""
        import polars as pl

        from anomaly_platform.ml.times import microseconds_of

        if self.bundle is None or (entity, metric) not in self.series:
            return None
        is_it = (pl.col("entity") == entity) & (pl.col("metric") == metric)
        last = self.bundle.series.filter(is_it)["last_time"].item()
        return None if last is None else microseconds_of(last)

    def predicting(self) -> _Lent:
        """Lend the scorer that answers predictions to one thread at a time."""
        return _Lent(self._lock, self._scorer)

    def warm(self, keys: Sequence[Key]) -> None:
        """Read the models of series before somebody asks, and compile what judges them."""
        import numpy as np

        from anomaly_platform.ml.features.metrics.series_buffers import SeriesBuffers
        from anomaly_platform.ml.features.metrics.series_state import SeriesState

        if not keys:
            return
        with self.predicting() as scorer:
            scorer.warm(keys)
            # A series without a past, judged once: the first request finds everything compiled.
            times = np.zeros(1, dtype=np.int64)
            buffers = SeriesBuffers(self.feature_set, 1)
            buffers.put(0, SeriesState.empty(self.feature_set))
            features = buffers.take(times, times, np.zeros(1))
            thresholds = np.array([self.threshold])
            scorer.judge(keys[:1], times, features, thresholds)
            kind = scorer.judge_one(keys[0], 0, features, self.threshold).kind
            scorer.explain(keys[:1], times, features, np.array([kind]), thresholds)

    @property
    def lane_models(self) -> int:
        """Models that a thread that takes readings in holds at most."""
        return max(1, self.models_held // _LANE_SHARE)

    def ingesting(self, lane: int) -> OnlineScorer:
        """Return the scorer of a thread that takes readings in, which may hold it for long."""
        with self._lock:
            return self._scorer(lane)

    def of_lane(self, lane: int, make: Callable[[], Kept]) -> Kept:
        """Return what a thread that takes readings in has made of this version, while it serves."""
        kept: Kept | None = self._kept.get(lane)
        if kept is None:
            kept = make()
            with self._lock:
                if not self._is_replaced:
                    self._kept[lane] = kept
        return kept

    def replaced(self) -> None:
        """Let go of all models, as another version serves; who judges by them still has them.

        Scorers know this version and it knows them: their memory would be free only when Python
        next looks for such circles, and what an idle thread has made only with its next readings.
        """
        with self._lock:
            self._is_replaced = True
            self._scorers.clear()
            self._kept.clear()

    def _scorer(self, lane: int | None = None) -> OnlineScorer:
        from anomaly_platform.ml.scoring.online import OnlineScorer

        found = self._scorers.get(lane)
        if found is None:
            # All of them share what this version may hold.
            share = 2 if lane is None else _LANE_SHARE
            found = OnlineScorer(self, models_held=max(1, self.models_held // share))
            if not self._is_replaced:
                self._scorers[lane] = found
        return found

    def held(self) -> list[Key]:
        """Return the series whose models are in memory, the least recently used first."""
        return [key for scorer in tuple(self._scorers.values()) for key in scorer.held]

    @property
    def lookups(self) -> Counter[str]:
        """Hits, misses and evictions of its scorers so far."""
        counted, scorers = ("hits", "misses", "evictions"), tuple(self._scorers.values())
        return Counter({name: sum(getattr(s, name) for s in scorers) for name in counted})

    def model_id(self, entity: str, metric: str) -> uuid.UUID | None:
        """Return the id of the series' row in ``ml_models``, None where no bundle knows it."""
        known = self.entry(entity, metric).model_id
        return None if known is None else uuid.UUID(known)


class _Lent(NamedTuple):
    """A scorer for the length of a block."""

    lock: threading.Lock
    scorer: Callable[[], OnlineScorer]

    def __enter__(self) -> OnlineScorer:
        self.lock.acquire()
        try:
            return self.scorer()
        except BaseException:
            self.lock.release()
            raise

    def __exit__(self, *_error: object) -> None:
        self.lock.release()


@dataclass(frozen=True, eq=False)
class ServedScans:
    """The set of models that serves a stream of scans.

    Attributes
    ----------
    stream
        The stream.
    version
        Of the fusion, which names the set; None where nothing has been promoted.
    models
        The detectors; None without a set.
    """

    stream: ScanStream
    version: int | None = None
    digest: str | None = None
    models: BarcodeModels | None = None


def model_id(stream: str, detector: str, version: int, entity: str, metric: str) -> uuid.UUID:
    """Return the id that ``ml_models`` gives to a series of a bundle."""
    parts = "\x1f".join((stream, detector, str(version), entity, metric))
    return uuid.UUID(hashlib.md5(parts.encode(), usedforsecurity=False).hexdigest())
