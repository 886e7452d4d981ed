"""One version in service, as a request sees it from start to end.

Belongs here: the immutable view of a metric stream's bundle, and of a stream's barcode models. What
is in service at the moment is ``models``' business.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from anomaly_platform.resources.platform import DETECTOR
from anomaly_platform.serving.model_cache import ModelCache, bytes_of
from anomaly_platform.streams import MetricStream

if TYPE_CHECKING:
    from anomaly_platform.ml.barcode_scoring import BarcodeModels
    from anomaly_platform.ml.bundle import Bundle
    from anomaly_platform.ml.features.metrics import MetricFeatureSet
    from anomaly_platform.ml.scoring import SharedCalibrations
    from anomaly_platform.ml.training.series import SeriesModel

INSUFFICIENT: Final = "insufficient_history"


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
    """

    status: str
    slot: int | None
    pool_index: int | None
    entity_index: int | None


_UNKNOWN: Final = SeriesEntry(INSUFFICIENT, None, None, None)


@dataclass(frozen=True, eq=False)
class ServedMetrics:
    """The version of a metric stream that serves; without one, the statistical fallback does.

    Attributes
    ----------
    stream
        The stream.
    version, digest
        Of the bundle, None while nothing has been promoted.
    feature_set
        What the models were trained on, and what a state has to be kept for.
    alpha, threshold
        Of the stream; single series may have a threshold of their own (see ``thresholds``).
    series
        Everything that the bundle knows, by (entity, metric).
    """

    stream: MetricStream
    version: int | None
    digest: str | None
    feature_set: MetricFeatureSet
    alpha: float
    threshold: float
    series: Mapping[tuple[str, str], SeriesEntry]
    bundle: Bundle | None
    cache: ModelCache
    entities: SharedCalibrations | None = field(default=None)
    _pools: SharedCalibrations | None = field(default=None)

    @classmethod
    def without_models(
        cls, stream: MetricStream, *, alpha: float, threshold: float, cache: ModelCache
    ) -> ServedMetrics:
        """Return what serves a stream before its first champion."""
        return cls(stream, None, None, stream.features, alpha, threshold, {}, None, cache)

    @classmethod
    def of(
        cls,
        stream: MetricStream,
        version: int,
        bundle: Bundle,
        *,
        threshold: float,
        cache: ModelCache,
    ) -> ServedMetrics:
        """Return a verified bundle as what serves.

        Raises
        ------
        ValueError
            When it was trained on features that this code no longer computes.
        """
        from anomaly_platform.ml.features.metrics import MetricFeatureSet
        from anomaly_platform.ml.scoring import SharedCalibrations

        columns = ("entity", "metric", "status", "slot", "pool_index", "entity_index")
        series = {
            (entity, metric): SeriesEntry(status, slot, pool, entity_index)
            for entity, metric, status, slot, pool, entity_index in bundle.series.select(
                columns
            ).iter_rows()
        }
        manifest = bundle.manifest
        return cls(
            stream,
            version,
            bundle.digest,
            MetricFeatureSet.from_definition(manifest["feature_schema"]["definition"]),
            float(manifest["hyper_parameters"]["alpha"]),
            threshold,
            series,
            bundle,
            cache,
            SharedCalibrations(bundle, "entity"),
            SharedCalibrations(bundle, "pool"),
        )

    @property
    def detector(self) -> str:
        """The detector that the bundle is of."""
        return DETECTOR

    def entry(self, entity: str, metric: str) -> SeriesEntry:
        """Return what is known of a series; a series that is not known has too little history."""
        return self.series.get((entity, metric), _UNKNOWN)

    def knows(self, entity: str, metric: str) -> bool:
        """Return whether the bundle has heard of the series."""
        return (entity, metric) in self.series

    def model(self, entity: str, metric: str) -> SeriesModel | None:
        """Return a series' model, None where there is none for it.

        Raises
        ------
        BundleError
            When its arrays are not what was published.
        """
        entry = self.series.get((entity, metric))
        if entry is None or entry.slot is None or self.version is None:
            return None
        slot = entry.slot
        return self.cache.get((self.stream.name, self.version, slot), lambda: self.load(entry))

    def load(self, entry: SeriesEntry) -> tuple[SeriesModel, int]:
        """Read and verify a series' model; return it with the bytes that it takes."""
        from anomaly_platform.ml.training.series import SeriesModel

        if self.bundle is None or entry.slot is None:
            raise AssertionError("a series without arrays has no model")
        arrays = self.bundle.arrays(entry.slot)
        model = SeriesModel.from_arrays(arrays, self.feature_set)
        if entry.pool_index is not None and self._pools is not None:
            model = replace(model, calibration=self._pools.at(entry.pool_index))
        return model, bytes_of(arrays)

    def model_id(self, entity: str, metric: str) -> uuid.UUID | None:
        """Return the id of the series' row in ``ml_models``, None where no bundle knows it."""
        if self.version is None or (entity, metric) not in self.series:
            return None
        return model_id(self.stream.name, DETECTOR, self.version, entity, metric)


@dataclass(frozen=True, eq=False)
class ServedScans:
    """The set of barcode models that serves.

    Attributes
    ----------
    version
        Of the fusion, which names the set; None where nothing has been promoted.
    models
        The detectors; None without a set.
    """

    version: int | None
    digest: str | None
    models: BarcodeModels | None


def model_id(stream: str, detector: str, version: int, entity: str, metric: str) -> uuid.UUID:
    """Return the id that ``ml_models`` gives to a series of a bundle."""
    parts = "\x1f".join((stream, detector, str(version), entity, metric))
    return uuid.UUID(hashlib.md5(parts.encode(), usedforsecurity=False).hexdigest())
