"""The training of a stream of scans: rules and one-class SVM here, the sequence model beside.

What belongs here: what each detector is trained on, how its quality is measured, and its bundle.
How they learn is in ``ml.detectors``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import polars as pl

from anomaly_platform import __version__
from anomaly_platform.kinds.base import TrainingOrder, TrainingReport
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
from anomaly_platform.registry.bundle_index import BundleRecord
from anomaly_platform.streams import ScanStream

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from anomaly_platform.ml.bundles.tensor_file import AnyArray

    Judged = tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]

_ROUTES_SHOWN = 20
_CANDIDATES_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Fitted:
    """A detector that was fitted, before it is a bundle."""

    arrays: Mapping[str, AnyArray]
    metrics: Mapping[str, Any]
    hyper_parameters: Mapping[str, Any]
    data: Mapping[str, Any]
    seconds: float
    members: Mapping[str, Mapping[str, Any]] | None = None


def refuse_series(stream: ScanStream, order: TrainingOrder) -> None:
    """Raise unless everything is to be trained.

    Raises
    ------
    StageError
        When the order names series.
    """
    if order.series:
        raise StageError(f"{stream.name} trains on all scans together: leave `series` empty")


def train_rules(parts: Parts, stream: ScanStream, order: TrainingOrder) -> TrainingReport:
    """Learn how long each route takes; the rest the rules know from the reference files."""
    from anomaly_platform.ml.detectors.rules.detector import RulesModel
    from anomaly_platform.ml.features.scans.reference import ScanReference

    window = scan_window(parts, stream, window_days=order.window_days)
    scans = read_window(parts, window)
    reference = ScanReference.read(parts.reference)
    places = reference.locations.height
    if not places:
        order.log.warning("no places are known; %s holds no locations.csv", parts.reference)
    began = time.perf_counter()
    with new_version(parts, stream.name, "rules") as version:
        rules = RulesModel.fit(scans, reference)
        seconds = time.perf_counter() - began
        metrics = _rules_quality(parts, stream, scans, rules)
        fitted = Fitted(
            rules.to_arrays(),
            metrics,
            asdict(rules.parameters),
            {
                "training_samples": scans.height,
                "validation_samples": 0,
                "test_samples": metrics["test_samples"],
                "places": places,
                "routes": rules.routes.table.height,
            },
            seconds,
        )
        publish(parts, stream, version, window, fitted, order.origin)
    routes = rules.routes.table.sort("trips", descending=True).head(_ROUTES_SHOWN)
    shown = {"scans": scans.height, "places": places, "metrics": metrics}
    return TrainingReport(version.number, {**shown, "busiest routes": routes.to_dicts()})


def train_svm(parts: Parts, stream: ScanStream, order: TrainingOrder) -> TrainingReport:
    """Search the one-class SVM's parameters, fit it and calibrate it."""
    from anomaly_platform.ml.detectors.one_class_svm import SvmSearch
    from anomaly_platform.ml.detectors.one_class_svm_scans import CalibratedSvm

    window, record, scans, reference = judged_window(parts, stream, order)
    began = time.perf_counter()
    with new_version(parts, stream.name, "svm") as version:
        search = SvmSearch(**stream.search)
        svm = CalibratedSvm.fit(scans, reference, seed=parts.seed, search=search)
        seconds = time.perf_counter() - began
        metrics = learned_quality(parts, stream, scans, lambda held: svm.judge(held).p_values)
        chosen = svm.svm.chosen
        fitted = Fitted(
            svm.to_arrays(),
            metrics,
            {
                **(chosen._asdict() if chosen is not None else {}),
                "seed": parts.seed,
                "rules": record.version,
            },
            {
                "training_samples": scans.height - svm.calibration.rows,
                "validation_samples": svm.calibration.rows,
                "test_samples": metrics["test_samples"],
            },
            seconds,
        )
        publish(parts, stream, version, window, fitted, order.origin)
    candidates = sorted(svm.svm.search_scores.items(), key=lambda item: -item[1])
    return TrainingReport(
        version.number,
        {
            "scans": scans.height,
            "training seconds": seconds,
            "metrics": metrics,
            "search": [
                {**candidate._asdict(), "gamma": str(candidate.gamma), "AUC-ROC": score}
                for candidate, score in candidates[:_CANDIDATES_SHOWN]
            ],
        },
    )


def judged_window(
    parts: Parts, stream: ScanStream, order: TrainingOrder
) -> tuple[ScanWindow, BundleRecord, pl.DataFrame, Any]:
    """Return the window, the newest rules, what they say of its scans, and their reference."""
    window = scan_window(parts, stream, window_days=order.window_days)
    record, rules = read_rules(parts, stream)
    scans = rules.score(read_window(parts, window), reasons=False)
    return window, record, scans, rules.reference


def _rules_quality(
    parts: Parts, stream: ScanStream, scans: pl.DataFrame, rules: Any
) -> dict[str, Any]:
    """Measure the rules on injected anomalies."""
    from anomaly_platform.ml.scans.scoring import FIRES_AT, rule_certainty

    def judge(held: pl.DataFrame) -> Judged:
        certainty = rule_certainty(rules.score(held, reasons=False))
        return certainty, certainty >= FIRES_AT

    return quality_of(parts, stream, scans, judge)


def learned_quality(
    parts: Parts,
    stream: ScanStream,
    scans: pl.DataFrame,
    p_values: Callable[[pl.DataFrame], npt.NDArray[np.float64]],
) -> dict[str, Any]:
    """Measure a learned detector on injected anomalies, by its p-values."""
    import numpy as np

    def judge(held: pl.DataFrame) -> Judged:
        p = p_values(held)
        return -np.log(p), p <= parts.alpha

    return quality_of(parts, stream, scans, judge)


def quality_of(
    parts: Parts, stream: ScanStream, scans: pl.DataFrame, judge: Callable[[pl.DataFrame], Judged]
) -> dict[str, Any]:
    """Measure scores and decisions on scans with injected anomalies."""
    from anomaly_platform.ml.training.scan_quality import inject_scans, measure

    return measure(inject_scans(scans, stream.features, seed=parts.seed), judge)


def publish(
    parts: Parts,
    stream: ScanStream,
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
            stream=stream.name,
            version=version.number,
            code_version=__version__,
            features=stream.features,
            trained_at=now,
            training_seconds=fitted.seconds,
            window=(window.since, window.until),
        ),
        metrics=fitted.metrics,
        hyper_parameters=fitted.hyper_parameters,
        data=fitted.data,
        members=fitted.members,
    )
    parts.lake.publish_folder(folder, version.path)
    every: Iterable[BundleRecord] = parts.bundles.all(stream.name, version.detector)
    entity, metric = ALL_SCANS
    rows = int(fitted.data.get("training_samples", 0))
    enter(
        parts,
        version,
        digest=digest,
        trained_at=now,
        window=(window.since, window.until),
        metrics=fitted.metrics,
        hyper_parameters=fitted.hyper_parameters,
        watermark=window.watermark,
        origin=known_origin(origin, every),
        seconds=fitted.seconds,
        series=pl.DataFrame(
            {"entity": [entity], "metric": [metric], "status": ["trained"], "rows": [rows]}
        ),
    )
