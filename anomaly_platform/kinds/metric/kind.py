"""The kind ``metric`` as one object: what the stages ask of a stream of readings."""

from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime
from functools import partial

import polars as pl

from anomaly_platform.incidents.anomaly_alerts import METRIC_ROWS
from anomaly_platform.kinds.base import (
    DetectorStage,
    Scorer,
    Shown,
    Stats,
    StreamKind,
    TrainingOrder,
    TrainingReport,
    Verdict,
)
from anomaly_platform.kinds.findings import Check, Finding, Quality
from anomaly_platform.kinds.formats import RowFormat, ScoredFormat
from anomaly_platform.kinds.metric import checks
from anomaly_platform.kinds.metric.bundles import (
    BYTES_PER_SERIES,
    DETECTOR,
    allowed_bytes,
    open_version,
)
from anomaly_platform.kinds.metric.challengers import judge_challengers
from anomaly_platform.kinds.metric.monitoring import day_stats
from anomaly_platform.kinds.metric.rows import feature_schema, metric_rows, series_together
from anomaly_platform.kinds.metric.scoring import SCORED, current_scorer
from anomaly_platform.kinds.metric.series_drift import fleet_reference
from anomaly_platform.kinds.metric.training import report, train
from anomaly_platform.registry.bundle_index import BundleRecord
from anomaly_platform.storage.tables.partitions import Partition
from anomaly_platform.streams import MetricStream


class MetricKind(StreamKind[MetricStream]):
    """Readings of entities: a model for each series, all of them in one bundle."""

    scores_with_history = False
    champion_tools = frozenset({"postgres"})
    version_word = "version"
    nothing_to_judge = "there is no challenger"
    decided = "decisions"
    bundle_opens = "The newest bundle has all its files, with the digests it names."
    bundle_size = (
        f"At most {BYTES_PER_SERIES // 1000} KB per trained series, besides what files taken over "
        "still hold of replaced ones."
    )
    quality = Quality(
        "balanced_accuracy_median",
        "median balanced accuracy is {:.3f}",
        "accuracy",
        "Median balanced accuracy on held-out days with injected anomalies is at least {:.2f}.",
        "it is the mean of two shares, of the readings of injected anomalies that are flagged and "
        "of the ordinary readings that are not, for the middle one of the series",
        "Whether the version serves is decided by its gates, not by this. More history may raise "
        "it, and so may `anomaly tune`; a stream of your own may want less "
        "(retraining.minimum_quality)",
    )
    shown_stats = (
        *("readings", "anomaly_rate", "quarantine_ratio"),
        *("series_drifted_share", "recall", "event_recall"),
    )
    alerting = METRIC_ROWS
    feature_check = Check(
        "finite", "Every feature of a reading with a value is there and finite.", blocking=True
    )
    score_checks = (
        Check(
            "score_range",
            "Scores lie in [0, 1], agree with the decision, and are absent where nothing can be "
            "said.",
        ),
    )

    @property
    def rows(self) -> RowFormat:
        """How readings are read and validated."""
        return metric_rows()

    @property
    def scored(self) -> ScoredFormat:
        """How scored readings look."""
        return SCORED

    @property
    def detectors(self) -> tuple[DetectorStage, ...]:
        """The one stage that trains."""
        return (
            DetectorStage(
                DETECTOR,
                "An isolation forest and its calibration per device and metric, in one bundle; "
                f"each trained on the last {self.stream.retraining.window.days} days of its own "
                "history.",
                frozenset({"numba", "safetensors"}),
            ),
        )

    @property
    def descriptions(self) -> Mapping[str, str]:
        """What people read about ``features`` and the stages after the models."""
        stream = self.stream
        windows = ", ".join(map(str, stream.features.windows))
        return {
            "features": (
                f"{len(stream.features.names)} causal features per reading over windows of "
                f"{windows} rows, looking back {stream.lookback_days} days at most."
            ),
            "champion": "The bundle that scores: the newest one that passed its gates.",
            "scored_events": (
                "Every reading of the day with its score, decision and the evidence. The day is "
                f"replaced as a whole; BI reads bi_{stream.name}_scores."
            ),
            "monitoring_stats": (
                "Volumes, quarantine ratio, anomaly rate, drift of each series against its "
                "training reference, score quantiles, quality against labels, model age and "
                "latency of a day."
            ),
        }

    @property
    def feature_schema(self) -> Mapping[str, pl.DataType]:
        """The columns of a reading with its features."""
        return feature_schema(self.stream)

    def features(self, events: pl.DataFrame, since: datetime) -> pl.DataFrame:
        """Return the features of the readings from an instant on."""
        return self.stream.features.compute(series_together(events), since=since)

    def train(self, _: str, order: TrainingOrder) -> TrainingReport:
        """Train the fleet, or some of its series."""
        version, bundle = train(self.parts, order)
        order.log.info("bundle %d: %s", version, bundle.manifest["data"])
        return report(self.parts, version, bundle)

    def judge(self) -> Iterator[Verdict]:
        """Judge every challenger that waits, the oldest first."""
        return judge_challengers(self.parts)

    def serving(self) -> Shown:
        """Return the version that serves."""
        version = self.parts.bundles.champions(self.stream.name).get(DETECTOR)
        return {"serving version": "none" if version is None else str(version)}

    def members(self, version: int) -> dict[str, int]:
        """Return the version itself: there is one detector."""
        return {DETECTOR: version}

    def verify(self, version: int) -> None:
        """Open a bundle and read every model, its digests verified."""
        from anomaly_platform.ml.scoring.checking import check_models, feature_set_of

        with open_version(self.parts, version) as bundle:
            check_models(bundle, feature_set_of(bundle))

    def scorer(self) -> Scorer:
        """Return the fleet in service, or the fallback."""
        return current_scorer(self.parts)

    def ensure_tables(self) -> None:
        """Make the tables and views of a user's own stream."""
        scores, stream = self.parts.scores, self.stream
        if not scores.has_tables(stream.name, stream.entity_field):
            scores.ensure_metric_tables(stream.name, entity_field=stream.entity_field)

    def monitor(self) -> Callable[[date, Partition], Stats]:
        """Return what compares days with what the champion's series were like in training."""
        reference = fleet_reference(self.parts)
        return partial(day_stats, self.parts, reference)

    def weigh(self, record: BundleRecord) -> tuple[int, int, str]:
        """Open a bundle; it may grow with the series that it has models of."""
        manifest = open_version(self.parts, record.version).manifest
        trained = manifest["data"]["trained"]
        size = sum(f["bytes"] for f in manifest["files"].values())
        return size, allowed_bytes(manifest), f" for {trained} series"

    @property
    def least_quality(self) -> float:
        """The balanced accuracy of the stream's policy."""
        return self.stream.retraining.minimum_quality

    @property
    def told_quality(self) -> float:
        """The balanced accuracy of the stream's policy."""
        return self.least_quality

    @property
    def champion_checks(self) -> tuple[Check, ...]:
        """What has to hold of the champion."""
        return (
            Check(
                "serves_this_feature_set",
                "The champion was trained on the features that are computed today.",
            ),
        )

    def look_at_champion(self) -> Iterator[Finding]:
        """Check that the champion reads today's features."""
        (check,), computed = self.champion_checks, self.stream.features.version
        champion = self.parts.bundles.champion(self.stream.name, DETECTOR)
        if champion is None:
            yield Finding(check.name, [], "nothing serves yet")
            return
        named = f"version {champion.version}"
        try:
            bundle = open_version(self.parts, champion.version)
        except Exception as error:
            yield Finding(check.name, [f"{named}: {error}"], named)
            return
        trained_on = bundle.manifest["feature_schema"]["version"]
        stale = f"{named} was trained on features {trained_on}, {computed} are computed; train anew"
        problems = [] if trained_on == computed else [stale]
        yield Finding(check.name, problems, f"{named}, features {trained_on}")

    look_at_features = checks.not_finite
    replay = checks.replay
    look_at_scores = checks.look_at_scores
