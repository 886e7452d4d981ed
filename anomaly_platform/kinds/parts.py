"""What kinds of streams work with, handed over by the composition root."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from anomaly_platform.streams import Stream

if TYPE_CHECKING:
    from anomaly_platform.labelling.labels import Labels
    from anomaly_platform.notifications.outbox import Outbox
    from anomaly_platform.registry.bundles import Bundles
    from anomaly_platform.storage.lake.lake import Lake
    from anomaly_platform.storage.tables.drift import DriftStats
    from anomaly_platform.storage.tables.partitions import Partitions
    from anomaly_platform.storage.tables.scored.rows import ScoredRows
    from anomaly_platform.storage.tables.series import SeriesIndex


S = TypeVar("S", bound=Stream)


@dataclass(frozen=True, slots=True)
class Parts(Generic[S]):
    """Lake, tables and settings as one stream's kind uses them.

    Attributes
    ----------
    lake, partitions, series, bundles, labels, drift, scores, outbox
        The files, the tables, and what people are to be told.
    home, reference : Path
        The platform's folder, and the one with what is known beforehand.
    start : date
        The stream's first day.
    weights : mapping of str to float
        How much each detector counts where several are fused.
    alpha, threshold : float
        Share of normal events above the default threshold; score from which one is an anomaly.
    seed, min_training_samples, contamination
        As the settings have them.
    """

    stream: S
    lake: Lake
    partitions: Partitions
    series: SeriesIndex
    bundles: Bundles
    labels: Labels
    drift: DriftStats
    scores: ScoredRows
    outbox: Outbox
    home: Path
    reference: Path
    start: date
    weights: Mapping[str, float]
    alpha: float
    threshold: float
    seed: int
    min_training_samples: int
    contamination: float
