"""The kind ``scan`` as one object: what the stages ask of a stream of scans."""

from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Final

import polars as pl

from anomaly_platform.incidents.anomaly_alerts import SCAN_ROWS
from anomaly_platform.kinds.base import (
    DetectorStage,
    Shown,
    Stats,
    StreamKind,
    TrainingOrder,
    TrainingReport,
    Verdict,
)
from anomaly_platform.kinds.bundles import files_of
from anomaly_platform.kinds.findings import Check, Finding, Quality
from anomaly_platform.kinds.formats import RowFormat, ScoredFormat
from anomaly_platform.kinds.scan import checks
from anomaly_platform.kinds.scan.bundles import members_of, read_serving
from anomaly_platform.kinds.scan.challengers import judge_newest_set
from anomaly_platform.kinds.scan.monitoring import day_stats, reference_of
from anomaly_platform.kinds.scan.rows import (
    FEATURE_SCHEMA,
    available_columns,
    in_order,
    scan_rows,
)
from anomaly_platform.kinds.scan.scoring import SCORED, current_scorer
from anomaly_platform.kinds.scan.sequence_training import learn_sequences
from anomaly_platform.kinds.scan.training import learn_rules, learn_svm, train
from anomaly_platform.ml.training.gates import LEAST_AUC
from anomaly_platform.registry.bundle_index import BundleRecord
from anomaly_platform.storage.tables.partitions import Partition
from anomaly_platform.streams import ScanStream

#: A model cache holds many of them (requirement B12).
MOST_BYTES: Final = 10_000_000
_LESSONS: Final = {"rules": learn_rules, "svm": learn_svm, "lstm": learn_sequences}


class ScanKind(StreamKind[ScanStream]):
    """Scans of goods: rules and learned detectors over all scans together, fused."""

    scores_with_history = True
    champion_tools = frozenset({"postgres", "safetensors"})
    version_word = "set"
    nothing_to_judge = "the newest models serve already"
    decided = "scans"
    told_quality = 0.7
    reference_files = (
        *("locations.csv", "companies.csv", "tier_moves.csv", "steps.csv", "vehicles.csv"),
        "location_id_withGeospatial.csv",
    )
    bundle_opens = (
        "The newest bundle has all its files, with the digests it names, and was trained on what "
        "scans have today."
    )
    bundle_size = f"At most {MOST_BYTES // 1_000_000} MB."
    least_quality = LEAST_AUC
    quality = Quality(
        "auc_roc",
        "AUC-ROC {:.3f}",
        "better_than_chance",
        "AUC-ROC on injected anomalies is at least {}.",
        "it is the share of pairs of an injected anomaly and an ordinary scan in which the "
        "anomaly has the higher score",
        "Whether the set serves is decided by its gates, not by this. More days of scans may raise "
        "it",
    )
    shown_stats = ("scans", "anomaly_rate", "quarantine_ratio", "psi_max", "recall")
    alerting = SCAN_ROWS
    feature_check = Check(
        "complete", "What is known of every scan is there, and within its bounds.", blocking=True
    )
    score_checks = (
        Check("score_range", "Scores lie in 0…100 and agree with decision, severity and reason."),
        Check(
            "every_detector_took_part", "No detector of the serving set was left out.", warns=True
        ),
    )

    @property
    def rows(self) -> RowFormat:
        """How scans are read and validated."""
        return scan_rows()

    @property
    def scored(self) -> ScoredFormat:
        """How scored scans look."""
        return SCORED

    @property
    def detectors(self) -> tuple[DetectorStage, ...]:
        """The stages that train, in order."""
        return (
            DetectorStage(
                "rules",
                "What the five rules know: places, companies, tiers and vehicles from the "
                "reference files, and how long each route takes, learned from the last "
                f"{self.stream.retraining.window.days} days.",
                frozenset({"polars", "safetensors"}),
            ),
            DetectorStage(
                "svm",
                "A one-class SVM over ten numbers of a scan, its parameters searched by "
                "cross-validation, calibrated on the window's last fifth.",
                frozenset({"sklearn", "safetensors"}),
                reads=("features", "rules_model"),
            ),
            DetectorStage(
                "lstm",
                "An LSTM with causal attention over each code's scans: how surprising is what came "
                "next. Trained in a process of its own, on a GPU where there is one.",
                frozenset({"pytorch", "safetensors"}),
                reads=("features", "rules_model"),
                heavy=True,
            ),
        )

    @property
    def descriptions(self) -> Mapping[str, str]:
        """What people read about ``features`` and the stages after the models."""
        stream = self.stream
        return {
            "features": (
                f"{len(stream.features.names)} causal features per scan from the history of its "
                f"code, looking back {stream.lookback_days} days at most."
            ),
            "champion": (
                "The models that score, one per detector, and the fusion that weighs them: the "
                "newest set that passed its gate."
            ),
            "scored_events": (
                "Every scan of the day with what each detector and all together say, and why. The "
                f"day is replaced as a whole; BI reads bi_{stream.name}_scores."
            ),
            "monitoring_stats": (
                "Volumes, quarantine ratio, findings per rule and detector, drift per feature, "
                "confidence quantiles, quality against labels, model age and latency of a day."
            ),
        }

    def reference_name(self, file: Path) -> str:
        """Read a reference file now, rather than have the next training fail on it."""
        from anomaly_platform.ml.features.scans.reference import ScanReference, kind_of_file

        ScanReference.read(file)
        return f"{kind_of_file(file)}.csv"

    @property
    def feature_schema(self) -> Mapping[str, pl.DataType]:
        """The columns of a scan with its features."""
        return FEATURE_SCHEMA

    def features(self, events: pl.DataFrame, since: datetime) -> pl.DataFrame:
        """Return the features of the scans from an instant on, of the codes that have any."""
        codes = events.filter(pl.col("event_time") >= since)["epc_code"].unique()
        mine = events.filter(pl.col("epc_code").is_in(codes.implode()))
        computed = self.stream.features.compute(in_order(mine), since=since)
        return computed.select(pl.col(name).cast(kind) for name, kind in FEATURE_SCHEMA.items())

    def train(self, detector: str, order: TrainingOrder) -> TrainingReport:
        """Train a detector on all scans of its window."""
        return train(self.parts, detector, order, _LESSONS[detector])

    def judge(self) -> Iterator[Verdict]:
        """Judge the newest set, unless it serves already."""
        return judge_newest_set(self.parts)

    def serving(self) -> Shown:
        """Return the versions that serve."""
        return {"serving versions": self.parts.bundles.champions(self.stream.name)}

    def members(self, version: int) -> dict[str, int]:
        """Return the versions of the set that a fusion names."""
        return members_of(self.parts, version)

    def verify(self, version: int) -> None:
        """Open a fusion and its members, with the digests that it pins."""
        read_serving(self.parts, version)

    scorer = current_scorer

    def ensure_tables(self) -> None:
        """Make the tables and views of a user's own stream."""
        if not self.parts.scores.has_tables(self.stream.name):
            self.parts.scores.ensure_scan_tables(self.stream.name)

    def monitor(self) -> Callable[[date, Partition], Stats]:
        """Return what compares days with the scans that the set in service learned from."""
        reference = reference_of(self.parts)
        return partial(day_stats, self.parts, *reference)

    def weigh(self, record: BundleRecord) -> tuple[int, int, str]:
        """Open a bundle; it may weigh as much as any other."""
        from anomaly_platform.ml.scans.bundles import open_detector

        _, folder = files_of(self.parts, record.detector, record.version)
        with open_detector(
            folder,
            record.detector,
            available=available_columns(self.stream),
            expected_digest=record.digest,
        ) as bundle:
            return sum(f["bytes"] for f in bundle.manifest["files"].values()), MOST_BYTES, ""

    @property
    def champion_checks(self) -> tuple[Check, ...]:
        """What has to hold of the set in service."""
        return (
            Check(
                "set_opens",
                "The set in service is whole: every member with its pinned digest.",
                blocking=True,
            ),
            Check(
                "quality",
                "AUC-ROC of the set on injected anomalies is at least "
                f"{self.stream.retraining.minimum_quality}.",
                warns=True,
            ),
        )

    def look_at_champion(self) -> Iterator[Finding]:
        """Check that the set in service opens, and how good it is."""
        parts, name = self.parts, self.stream.scored_by
        champion = parts.bundles.champion(self.stream.name, name)
        if champion is None:
            yield from (
                Finding(one.name, [], "the rules serve alone") for one in self.champion_checks
            )
            return
        problems = []
        try:
            self.verify(champion.version)
        except Exception as error:
            problems.append(f"set {champion.version}: {error}")
        yield Finding("set_opens", problems, f"set {champion.version}")
        record = parts.bundles.get(self.stream.name, name, champion.version)
        least = self.stream.retraining.minimum_quality
        yield Finding("quality", *self.quality.problems(record, least))

    look_at_features = checks.incomplete
    replay = checks.replay
    look_at_scores = checks.look_at_scores
