"""The newest detectors of a stream of scans: calibrated together, judged, promoted as a set.

What belongs here: the fusion of the newest bundles, and what it is compared with. A set is named by
the version of its fusion, which pins its members.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import polars as pl

from anomaly_platform.kinds.base import Verdict
from anomaly_platform.kinds.parts import Parts
from anomaly_platform.kinds.scan.bundles import (
    manifest_of,
    newest_members,
    read,
    read_serving,
)
from anomaly_platform.kinds.scan.training import Fitted, publish, quality_of, samples
from anomaly_platform.kinds.scan.window import read_window, scan_window
from anomaly_platform.kinds.training import StageError, new_version, origin_of
from anomaly_platform.kinds.verdicts import act
from anomaly_platform.registry.bundle_index import BundleRecord
from anomaly_platform.registry.promotion import ChampionMovedError
from anomaly_platform.streams import ScanStream

if TYPE_CHECKING:
    from anomaly_platform.ml.scans.scoring import BarcodeModels


def judge_newest_set(parts: Parts[ScanStream]) -> Iterator[Verdict]:
    """Calibrate the newest models together, judge the set, and promote or reject it."""
    from anomaly_platform.ml.scans.scoring import BarcodeModels, ruled
    from anomaly_platform.ml.training.gates import decide_on_set

    members = newest_members(parts)
    newest = {name: record.version for name, record in members.items()}
    served = parts.bundles.champions(parts.stream.name)
    serving = served.get(parts.stream.scored_by)
    if {name: served.get(name) for name in newest} == newest and _weighed(parts, serving):
        return
    found = {name: read(parts, record) for name, record in members.items()}
    models = BarcodeModels(found["rules"], found.get("lstm"), found.get("svm"))
    window = scan_window(parts)
    scans = ruled(models.rules, read_window(parts, window))
    began = time.perf_counter()
    with new_version(parts, parts.stream.scored_by) as version:
        models = _fused(parts, models, scans)
        metrics = _quality(parts, scans, models)
        before = None
        if serving is not None:
            champion = read_serving(parts, serving)
            before = _quality(parts, scans, champion)["auc_roc"]
        fitted = _fitted(parts, models, members, scans, metrics, began)
        newest_member = max(members.values(), key=lambda one: one.created_at)
        # The set is made anew for what its newest member was trained.
        publish(parts, version, window, fitted, origin_of(newest_member))
    decision = decide_on_set(
        metrics["auc_roc"],
        before,
        trained_on=_features_of(parts, newest),
        computed=parts.stream.features.version,
    )
    versions = {**newest, parts.stream.scored_by: version.number}
    trained = [
        parts.bundles.get(parts.stream.name, name, one)
        for name, one in versions.items()
        if served.get(name) != one
    ]
    records = [record for record in trained if record is not None]
    try:
        act(parts, records[-1], versions, decision, trained=records, compared_with=serving)
    except ChampionMovedError as error:
        raise StageError(f"{error}; materialize champion again") from error
    yield Verdict(version.number, decision, metrics)


def _weighed(parts: Parts[ScanStream], version: int | None) -> bool:
    """Whether a fusion weighs the detectors as they are to be weighed now."""
    from anomaly_platform.ml.scans.fusion import FusionWeights

    if version is None:
        return False
    said = manifest_of(parts, parts.stream.scored_by, version)["hyper_parameters"]["weights"]
    return bool(said == asdict(FusionWeights(**parts.weights)))


def _features_of(parts: Parts[ScanStream], versions: Mapping[str, int]) -> str:
    """Return the version of the features that the models read; several where they differ."""
    read = {
        str(manifest_of(parts, detector, one)["feature_schema"]["version"])
        for detector, one in versions.items()
    }
    return ", ".join(sorted(read))


def _fused(parts: Parts[ScanStream], models: BarcodeModels, scans: pl.DataFrame) -> BarcodeModels:
    from anomaly_platform.ml.scans.fusion import FusionWeights
    from anomaly_platform.ml.scans.scoring import fit_fusion

    weights = FusionWeights(**parts.weights)
    fusion = fit_fusion(scans, models.lstm, models.svm, weights=weights, alpha=parts.alpha)
    return replace(models, fusion=fusion)


def _quality(
    parts: Parts[ScanStream], scans: pl.DataFrame, models: BarcodeModels
) -> dict[str, Any]:
    def judge(held: pl.DataFrame) -> Any:
        scored = models.score(held, threshold=parts.threshold)
        return scored["final_confidence"].to_numpy(), scored["is_anomaly"].to_numpy()

    return quality_of(parts, scans, judge)


def _fitted(
    parts: Parts[ScanStream],
    models: BarcodeModels,
    members: Mapping[str, BundleRecord],
    scans: pl.DataFrame,
    metrics: Mapping[str, Any],
    began: float,
) -> Fitted:
    from anomaly_platform.ml.scans.bundles import fusion_arrays

    if models.fusion is None:
        raise AssertionError("a set without its fusion")
    return Fitted(
        fusion_arrays(models.fusion, scans),
        metrics,
        {"weights": asdict(models.fusion.weights), "alpha": parts.alpha},
        samples(metrics, scans, scans.height, 0),
        time.perf_counter() - began,
        members={
            name: {"version": record.version, "digest": record.digest}
            for name, record in members.items()
        },
    )
