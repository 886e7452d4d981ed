"""What a stream is: its names, features, detectors and policies. Nothing here touches data.

A stream is a row of the platform's table, the stages are its columns: everything that differs
between two streams stands in one :class:`MetricStream`, and no stage asks for a stream's name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta

from anomaly_platform.ml.features.metrics import MetricFeatureSet

STAGES = (
    "raw_events",
    "validated_events",
    "quarantine",
    "features",
    "isolation_forest_model",
    "champion",
    "scored_events",
    "monitoring_stats",
)

_NAME = re.compile(r"^[a-z][a-z0-9_]{0,30}$")


@dataclass(frozen=True, slots=True)
class RetrainingPolicy:
    """When and on what a stream's models are trained.

    Attributes
    ----------
    window : timedelta
        Length of history a series is trained on. It ends at that series' own event watermark,
        not at the present, so that imported history trains as well as live data.
    max_silence : timedelta
        Series whose last event lies further back than this from the stream's watermark are no
        longer trained.
    max_age : timedelta
        Age of a model from which it is due again.
    minimum_quality : float
        Balanced accuracy in [0, 1] under which a model is due again.
    """

    window: timedelta = timedelta(days=30)
    max_silence: timedelta = timedelta(days=365)
    max_age: timedelta = timedelta(days=7)
    minimum_quality: float = 0.90


@dataclass(frozen=True, slots=True)
class MetricStream:
    """A stream of (entity, metric, value, time) readings.

    Attributes
    ----------
    name : str
        Lower-case identifier; the asset group, the landing folder and the table suffix.
    title, description : str
        For people: the Dagster UI and the documentation.
    entity_field, metric_field, time_field, value_field : str
        External column names, as files, the API and the BI views carry them.
    aliases : mapping of str to tuple of str
        Further column names per canonical field (``entity``, ``metric``, ``event_time``,
        ``value``, ``event_id``, ``label``, ``metadata``), beside those every stream knows.
    features : MetricFeatureSet
        The features; their look-back decides how far late data reaches.
    alpha : float or None
        Share of normal readings in (0, 1) that may lie above the default threshold;
        ``None`` takes ``ANOMALY_ALPHA``.
    threshold : float or None
        Score in (0, 1) from which a reading is an anomaly; ``None`` takes ``ANOMALY_THRESHOLD``.
    max_quarantine_ratio, max_anomaly_rate : float
        Bounds in (0, 1) of the asset checks.
    start : date or None
        Events before this day are quarantined; ``None`` takes ``ANOMALY_START_DATE``.
    """

    name: str
    title: str
    description: str
    entity_field: str
    metric_field: str = "metric_name"
    time_field: str = "timestamp"
    value_field: str = "value"
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    features: MetricFeatureSet = field(default_factory=MetricFeatureSet)
    alpha: float | None = None
    threshold: float | None = None
    retraining: RetrainingPolicy = field(default_factory=RetrainingPolicy)
    max_quarantine_ratio: float = 0.05
    max_anomaly_rate: float = 0.25
    start: date | None = None
    owners: tuple[str, ...] = ("team:anomaly-platform",)

    def __post_init__(self) -> None:
        if not _NAME.match(self.name):
            raise ValueError(
                f"stream name {self.name!r}: use lower-case letters, digits and '_', "
                "starting with a letter, at most 31 characters"
            )
        for label, share in (("alpha", self.alpha), ("threshold", self.threshold)):
            if share is not None and not 0.0 < share < 1.0:
                raise ValueError(f"stream {self.name}: {label} {share} must lie between 0 and 1")

    def key(self, stage: str) -> list[str]:
        """Return the asset key ``[stream, stage]``; `stage` must be one of :data:`STAGES`."""
        if stage not in STAGES:
            raise ValueError(f"unknown stage {stage!r}; stages are {', '.join(STAGES)}")
        return [self.name, stage]

    @property
    def lookback_days(self) -> int:
        """Whole days before a day whose events its features read."""
        return self.features.lookback_days

    def column_names(self) -> dict[str, tuple[str, ...]]:
        """Return the stream's own column names per canonical field, the external name first."""
        external = {
            "entity": self.entity_field,
            "metric": self.metric_field,
            "event_time": self.time_field,
            "value": self.value_field,
        }
        return {
            name: (external[name], *self.aliases.get(name, ()))
            if name in external
            else tuple(self.aliases[name])
            for name in dict.fromkeys([*external, *self.aliases])
        }
