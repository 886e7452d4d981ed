"""What a stream is: its names, features, detectors and policies. Nothing here touches data.

A stream is a row of the platform's table, the stages are its columns: everything that differs
between two streams stands in one :class:`MetricStream` or :class:`ScanStream`, and no stage asks
for a stream's name.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, ClassVar

from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.features.scans.definition import ScanFeatureSet

#: The stages that every stream has, besides one per detector.
STAGES = (
    "raw_events",
    "validated_events",
    "quarantine",
    "features",
    "champion",
    "scored_events",
    "monitoring_stats",
)

#: What names of streams are like.
NAME = re.compile(r"^[a-z][a-z0-9_]{0,30}$")


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
        Age of a model from which it is due again, in event time: how far the stream's newest
        event lies behind the end of what the model was trained on.
    minimum_quality : float
        Balanced accuracy in [0, 1] under which a model is due again.
    drift_psi : float
        Population stability index from which a day's values may count as drifted, beyond noise
        and what single days of the training data have.
    drift_days : int
        Days in a row that have to be drifted before a training is asked for.
    cool_down : timedelta
        How much newer the newest event has to be than at the last training before the same
        series is trained again for any cause but a request.
    growth : float
        A series is due again when it has this many times the readings that it was trained on.
    """

    window: timedelta = timedelta(days=30)
    max_silence: timedelta = timedelta(days=3650)
    max_age: timedelta = timedelta(days=7)
    minimum_quality: float = 0.90
    drift_psi: float = 0.25
    drift_days: int = 3
    cool_down: timedelta = timedelta(days=1)
    growth: float = 2.0


@dataclass(frozen=True, kw_only=True)
class Stream:
    """What every stream has.

    Attributes
    ----------
    name : str
        Lower-case identifier; the asset group, the landing folder and the table suffix.
    title, description : str
        For people: the Dagster UI and the documentation.
    features : MetricFeatureSet or ScanFeatureSet
        What is computed of every event.
    aliases : mapping of str to tuple of str
        Further column names per canonical field, beside those every stream of the kind knows.
    alpha : float or None
        Share of normal events in (0, 1) that may lie above the default threshold;
        ``None`` takes ``ANOMALY_ALPHA``.
    threshold : float or None
        Score in (0, 1) from which an event is an anomaly; ``None`` takes ``ANOMALY_THRESHOLD``.
    retraining : RetrainingPolicy
        When and on what models are trained.
    max_quarantine_ratio, max_anomaly_rate : float
        Bounds in (0, 1) of the asset checks.
    start : date or None
        Events before this day are quarantined; ``None`` takes ``ANOMALY_START_DATE``.
    owners : tuple of str
        Who answers for the assets; none takes ``ANOMALY_OWNERS``.
    timezone : str or None
        Where times that name no zone are at home; ``None`` takes ``ANOMALY_DEFAULT_TIMEZONE``.
    ignored_columns : tuple of str
        Columns of files that are left alone where they occur.
    """

    name: str
    title: str
    description: str
    features: MetricFeatureSet | ScanFeatureSet
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    alpha: float | None = None
    threshold: float | None = None
    retraining: RetrainingPolicy = field(default_factory=RetrainingPolicy)
    max_quarantine_ratio: float = 0.05
    max_anomaly_rate: float = 0.25
    start: date | None = None
    owners: tuple[str, ...] = ()
    timezone: str | None = None
    ignored_columns: tuple[str, ...] = ()

    #: The detectors that are trained, in order.
    detectors: ClassVar[tuple[str, ...]]
    #: The bundle whose version a scored day carries.
    scored_by: ClassVar[str]
    #: What an event is called.
    event: ClassVar[str]
    #: Whether entity and metric name series with a model, a threshold and a training of their own.
    has_series: ClassVar[bool]

    def __post_init__(self) -> None:
        if not NAME.match(self.name):
            raise ValueError(
                f"stream name {self.name!r}: use lower-case letters, digits and '_', "
                "starting with a letter, at most 31 characters"
            )
        for label, share in (("alpha", self.alpha), ("threshold", self.threshold)):
            if share is not None and not 0.0 < share < 1.0:
                raise ValueError(f"stream {self.name}: {label} {share} must lie between 0 and 1")

    @property
    def model_stages(self) -> tuple[str, ...]:
        """The stages that a training materializes."""
        return (*(f"{detector}_model" for detector in self.detectors), "champion")

    def key(self, stage: str) -> list[str]:
        """Return the asset key ``[stream, stage]``.

        Raises
        ------
        ValueError
            When the stream has no such stage.
        """
        stages = dict.fromkeys((*STAGES, *self.model_stages))
        if stage not in stages:
            raise ValueError(f"unknown stage {stage!r}; stages are {', '.join(stages)}")
        return [self.name, stage]

    @property
    def lookback_days(self) -> int:
        """Whole days before a day whose events its features read."""
        return self.features.lookback_days

    def fewest_to_learn_from(self, per_series: int) -> int:
        """Return how many events there have to be before anything is learned.

        Parameters
        ----------
        per_series : int
            What the platform asks of every series.
        """
        return per_series

    def column_names(self) -> dict[str, tuple[str, ...]]:
        """Return the stream's own column names per canonical field, the external name first."""
        return {name: tuple(names) for name, names in self.aliases.items()}


@dataclass(frozen=True, kw_only=True)
class MetricStream(Stream):
    """A stream of (entity, metric, value, time) readings.

    Attributes
    ----------
    entity_field : str
        External column name, as files, the API and the BI views carry it.
    metric_field, time_field, value_field : str
        External column names of files; the BI views have the default names.
    features : MetricFeatureSet
        The features; their look-back decides how far late data reaches.
    contamination : float or None
        Largest share of rows that fitting may set aside as suspect; ``None`` takes
        ``ANOMALY_CONTAMINATION``.
    trees : int
        Trees of each forest.
    tuning : int or None
        The tuning whose settings the stream has, where it has any.
    """

    entity_field: str
    metric_field: str = "metric_name"
    time_field: str = "timestamp"
    value_field: str = "value"
    features: MetricFeatureSet = field(default_factory=MetricFeatureSet)
    contamination: float | None = None
    trees: int = 100
    tuning: int | None = None

    detectors = ("isolation_forest",)
    scored_by = "isolation_forest"
    event = "reading"
    has_series = True

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


@dataclass(frozen=True, kw_only=True)
class ScanStream(Stream):
    """A stream of scans of goods: code, place, step, type and time.

    Attributes
    ----------
    features : ScanFeatureSet
        The features; their look-back decides how far late data reaches.
    sequence : mapping of str to value
        What the sequence model's training is told, by name (see ``TrainingParameters``).
    search : mapping of str to value
        What the one-class SVM's search is told, by name (see ``SvmSearch``).
    weights : mapping of str to float
        How much ``rules``, ``lstm`` and ``svm`` count in the fused confidence; empty takes
        ``ANOMALY_SCAN_WEIGHTS``.
    time_limits : mapping of str to float
        Seconds that each has online; empty takes ``ANOMALY_SCAN_TIME_LIMITS``.
    min_training_scans : int
        Scans that there have to be before anything is learned.
    max_training_scans : int
        Most scans that are learned from; beyond, a sample of the codes is taken.
    """

    features: ScanFeatureSet = field(default_factory=ScanFeatureSet)
    sequence: Mapping[str, Any] = field(default_factory=dict)
    search: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    time_limits: Mapping[str, float] = field(default_factory=dict)
    min_training_scans: int = 1_000
    max_training_scans: int = 1_000_000

    detectors = ("rules", "svm", "lstm")
    scored_by = "fusion"
    event = "scan"
    has_series = False

    def fewest_to_learn_from(self, per_series: int) -> int:
        """Return how many scans there have to be before anything is learned."""
        return max(per_series, self.min_training_scans)


def metric_streams(streams: Iterable[Stream]) -> dict[str, MetricStream]:
    """Return those of the streams that have readings, by name."""
    return {one.name: one for one in streams if isinstance(one, MetricStream)}


def scan_streams(streams: Iterable[Stream]) -> dict[str, ScanStream]:
    """Return those of the streams that have scans, by name."""
    return {one.name: one for one in streams if isinstance(one, ScanStream)}
