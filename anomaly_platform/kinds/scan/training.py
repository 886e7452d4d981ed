"""The training of a stream of scans: rules and one-class SVM here, the sequence model beside.

What belongs here: what each detector is trained on, how its quality is measured, and its bundle.
How they learn is in ``ml.detectors``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import polars as pl

from anomaly_platform import __version__
from anomaly_platform.kinds.base import Shown, TrainingOrder, TrainingReport
from anomaly_platform.kinds.parts import Parts
from anomaly_platform.kinds.scan.bundles import read_rules
from anomaly_platform.kinds.scan.rows import ALL_SCANS
from anomaly_platform.kinds.scan.window import ScanWindow, read_window, scan_window
from anomaly_platform.kinds.training import (
    StageError,
    TrainingOrigin,
    Version,
    enter,
    known_origin,
    new_version,
)
from anomaly_platform.ml.arrays import AnyArray
from anomaly_platform.registry.bundle_index import BundleRecord
from anomaly_platform.streams import ScanStream

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from anomaly_platform.ml.features.scans.reference import ScanReference

    Judged = tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]

_ROUTES_SHOWN = 20
_CANDIDATES_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Fitted:
    """A detector that was fitted, before it is a bundle; `after` clears away what fitting left."""

    arrays: Mapping[str, AnyArray]
    metrics: Mapping[str, Any]
    hyper_parameters: Mapping[str, Any]
    data: Mapping[str, Any]
    seconds: float
    members: Mapping[str, Mapping[str, Any]] | None = None
    after: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a detector learns from.

    Attributes
    ----------
    parts, stream, order
        Whose detector, and what was asked for.
    window, scans
        From when to when, and the scan features; with what the rules say of them, unless the rules
        are what is learned.
    reference
        What is known beforehand.
    rules
        The bundle of the rules; None where they are what is learned.
    """

    parts: Parts[ScanStream]
    order: TrainingOrder
    window: ScanWindow
    scans: pl.DataFrame
    reference: ScanReference
    rules: BundleRecord | None = None

    @property
    def origins(self) -> dict[str, Any]:
        """What of the platform's own the outcome depends on, for the bundle."""
        return {
            "seed": self.parts.seed,
            "rules": None if self.rules is None else self.rules.version,
        }


Learn = Callable[[Lesson], tuple[Fitted, Shown]]


def train(
    parts: Parts[ScanStream], detector: str, order: TrainingOrder, learn: Learn
) -> TrainingReport:
    """Let a detector learn from the scans of its window, and enter it as a challenger.

    Raises
    ------
    StageError
        When the order names series, or there is nothing to learn from.
    """
    if order.series:
        raise StageError(f"{parts.stream.name} trains on all scans together: leave `series` empty")
    from anomaly_platform.ml.features.scans.reference import ScanReference
    from anomaly_platform.ml.scans.scoring import ruled

    window = scan_window(parts, window_days=order.window_days)
    if detector == "rules":
        reference, scans = ScanReference.read(parts.reference), read_window(parts, window)
        lesson = Lesson(parts, order, window, scans, reference)
    else:
        record, rules = read_rules(parts)
        scans = ruled(rules, read_window(parts, window))
        lesson = Lesson(parts, order, window, scans, rules.reference, record)
    with new_version(parts, detector) as version:
        fitted, shown = learn(lesson)
        publish(parts, version, window, fitted, order.origin)
    fitted.after()
    scans_seen = {"scans": lesson.scans.height, "metrics": fitted.metrics}
    return TrainingReport(version.number, {**scans_seen, **shown})


def learn_rules(lesson: Lesson) -> tuple[Fitted, Shown]:
    """Learn how long each route takes; the rest the rules know from the reference files."""
    from anomaly_platform.ml.detectors.rules.detector import RuleParameters, RulesModel
    from anomaly_platform.ml.scans.scoring import FIRES_AT, rule_certainty, ruled

    scans, reference = lesson.scans, lesson.reference
    places = reference.locations.height
    if not places:
        said = "no places are known; %s holds no locations.csv"
        lesson.order.log.warning(said, lesson.parts.reference)
    began = time.perf_counter()
    parameters = RuleParameters(code_pattern=lesson.parts.stream.features.code_pattern)
    rules = RulesModel.fit(scans, reference, parameters)
    seconds = time.perf_counter() - began

    def judge(held: pl.DataFrame) -> Judged:
        certainty = rule_certainty(ruled(rules, held))
        return certainty, certainty >= FIRES_AT

    metrics = quality_of(lesson.parts, scans, judge)
    data = {
        **samples(metrics, ruled(rules, scans), scans.height, 0),
        "places": places,
        "routes": rules.routes.table.height,
    }
    routes = rules.routes.table.sort("trips", descending=True).head(_ROUTES_SHOWN)
    return (
        Fitted(rules.to_arrays(), metrics, asdict(rules.parameters), data, seconds),
        {"places": places, "busiest routes": routes.to_dicts()},
    )


def learn_svm(lesson: Lesson) -> tuple[Fitted, Shown]:
    """Search the one-class SVM's parameters, fit it and calibrate it."""
    from anomaly_platform.ml.detectors.one_class_svm import SvmSearch
    from anomaly_platform.ml.detectors.one_class_svm_scans import CalibratedSvm

    scans, search = lesson.scans, SvmSearch(**lesson.parts.stream.search)
    began = time.perf_counter()
    svm = CalibratedSvm.fit(scans, lesson.reference, seed=lesson.parts.seed, search=search)
    seconds = time.perf_counter() - began
    metrics = learned_quality(lesson, lambda held: svm.judge(held).p_values)
    chosen, calibrated = svm.svm.chosen, svm.calibration.rows
    hyper_parameters = {**(chosen._asdict() if chosen is not None else {}), **lesson.origins}
    data = samples(metrics, scans, scans.height - calibrated, calibrated)
    candidates = sorted(svm.svm.search_scores.items(), key=lambda item: -item[1])
    shown = [
        {**candidate._asdict(), "gamma": str(candidate.gamma), "AUC-ROC": score}
        for candidate, score in candidates[:_CANDIDATES_SHOWN]
    ]
    return (
        Fitted(svm.to_arrays(), metrics, hyper_parameters, data, seconds),
        {"training seconds": seconds, "search": shown},
    )


def learned_quality(
    lesson: Lesson, p_values: Callable[[pl.DataFrame], npt.NDArray[np.float64]]
) -> dict[str, Any]:
    """Measure a learned detector on injected anomalies, by its p-values."""
    import numpy as np

    def judge(held: pl.DataFrame) -> Judged:
        p = p_values(held)
        return -np.log(p), p <= lesson.parts.alpha

    return quality_of(lesson.parts, lesson.scans, judge)


def samples(
    metrics: Mapping[str, Any], scans: pl.DataFrame, training: int, validation: int
) -> dict[str, Any]:
    """Return on how much a bundle was fitted, calibrated and measured (requirement B9).

    Parameters
    ----------
    metrics
        Of the measurement on injected anomalies.
    scans
        All scans of the window with the rules' scores: a code of which a rule calls a scan is an
        anomalous sequence. Labels are not read.
    training, validation
        Scans that were fitted and calibrated on.
    """
    from anomaly_platform.ml.scans.scoring import FIRES_AT, rule_certainty

    called = scans.filter(pl.Series(rule_certainty(scans) >= FIRES_AT))["epc_code"].n_unique()
    total = scans["epc_code"].n_unique()
    first, last = scans.select(
        pl.col("event_time").min().alias("first"), pl.col("event_time").max().alias("last")
    ).row(0)
    return {
        "sequences": {"total": total, "normal": total - called, "anomalous": called},
        "first_time": first.isoformat(),
        "last_time": last.isoformat(),
        "training_samples": training,
        "validation_samples": validation,
        "test_samples": metrics["test_samples"],
    }


def quality_of(
    parts: Parts[ScanStream], scans: pl.DataFrame, judge: Callable[[pl.DataFrame], Judged]
) -> dict[str, Any]:
    """Measure scores and decisions on scans with injected anomalies."""
    from anomaly_platform.ml.training.scan_quality import inject_scans, measure

    return measure(inject_scans(scans, parts.stream.features, seed=parts.seed), judge)


def publish(
    parts: Parts[ScanStream],
    version: Version,
    window: ScanWindow,
    fitted: Fitted,
    origin: TrainingOrigin,
) -> None:
    """Write a bundle, move it into the lake and enter it as a challenger."""
    from anomaly_platform.ml.scans.bundles import Origin, write_detector

    now = datetime.now(UTC)
    folder = parts.lake.new_folder() / "bundle"
    digest = write_detector(
        folder,
        version.detector,
        fitted.arrays,
        Origin(
            stream=parts.stream.name,
            version=version.number,
            code_version=__version__,
            features=parts.stream.features,
            trained_at=now,
            training_seconds=fitted.seconds,
            window=window.bounds,
        ),
        metrics=fitted.metrics,
        hyper_parameters=fitted.hyper_parameters,
        data=fitted.data,
        members=fitted.members,
    )
    parts.lake.publish_folder(folder, version.path)
    every = parts.bundles.all(parts.stream.name, version.detector)
    entity, metric = ALL_SCANS
    rows = int(fitted.data.get("training_samples", 0))
    enter(
        parts,
        version,
        digest=digest,
        trained_at=now,
        window=window.bounds,
        metrics=fitted.metrics,
        hyper_parameters=fitted.hyper_parameters,
        watermark=window.watermark,
        origin=known_origin(origin, every),
        seconds=fitted.seconds,
        series=pl.DataFrame(
            {"entity": [entity], "metric": [metric], "status": ["trained"], "rows": [rows]}
        ),
    )
