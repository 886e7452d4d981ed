"""The models of a metric stream, as its stages train, open and use them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from anomaly_platform.kinds.base import TrainingOrder
from anomaly_platform.kinds.metric import scoring, training
from anomaly_platform.kinds.training import Key, TrainingOrigin
from anomaly_platform.platform import DETECTOR, Platform
from anomaly_platform.streams import MetricStream

if TYPE_CHECKING:
    from anomaly_platform.ml.bundles.bundle import Bundle
    from anomaly_platform.ml.scoring.batch import FleetScorer


def train(
    platform: Platform,
    stream: MetricStream,
    *,
    series: Sequence[Key] | None = None,
    window_days: int | None = None,
    origin: TrainingOrigin | None = None,
) -> tuple[int, Bundle]:
    order = TrainingOrder(series, window_days, origin or TrainingOrigin())
    return training.train(platform.kind(stream).parts, order)


def current_fleet(platform: Platform, stream: MetricStream) -> tuple[int | None, FleetScorer]:
    champion = platform.warehouse.bundles.champion(stream.name, DETECTOR)
    version = None if champion is None else champion.version
    return version, scoring.fleet_scorer(platform.kind(stream).parts, version)
