"""``champion`` of a stream of scans: the set of models in service, one per detector.

What belongs here: calibrating the newest models together, deciding whether they serve, and
promoting them all at once. A set is named by the version of its fusion, which pins its members.
"""

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dagster import (
    AssetExecutionContext,
    AssetsDefinition,
    Failure,
    MaterializeResult,
    MetadataValue,
    asset,
)

from anomaly_platform.assets.champion import Verdict, gates_table, tell_of_verdict
from anomaly_platform.assets.metadata import records_table
from anomaly_platform.assets.scan_window import (
    Trained,
    available_columns,
    folder_of,
    new_version,
    newest_usable,
    publish,
    read_window,
    scan_window,
)
from anomaly_platform.assets.training_alerts import tell_of_outcome, why_of
from anomaly_platform.assets.training_config import TrainingOrigin
from anomaly_platform.platform import Platform
from anomaly_platform.registry.bundles import BundleRecord
from anomaly_platform.storage.postgres.transactions import Connection
from anomaly_platform.streams import ScanStream

if TYPE_CHECKING:
    import polars as pl

    from anomaly_platform.ml.scans.scoring import BarcodeModels
    from anomaly_platform.ml.training.gates import Decision

#: AUC-ROC on injected anomalies under which a set does not serve.
LEAST_QUALITY = 0.6
#: How much worse than the set in service, on the same scans, a newer one may be.
TOLERANCE = 0.03


@dataclass(frozen=True, slots=True)
class Challenger:
    """The newest models together, before they are judged."""

    members: dict[str, BundleRecord]
    models: "BarcodeModels"
    features: str


def judge_set(
    metrics: dict[str, Any], serving: dict[str, Any] | None, *, trained_on: str, computed: str
) -> "Decision":
    """Decide about a set of models.

    Parameters
    ----------
    metrics : mapping
        Its quality on scans with injected anomalies; ``auc_roc`` None where there are too few.
    serving : mapping or None
        The same of the set in service, on the same scans.
    trained_on, computed : str
        Versions of the features that the models read and that are computed today.
    """
    from anomaly_platform.ml.training.gates import Gate, decide, schema_gate

    quality = metrics.get("auc_roc")
    gates = [schema_gate(trained_on, computed, equal=trained_on == computed)]
    if quality is None:
        return decide(gates, "nothing to measure the models on; they serve until there is")
    gates.append(
        Gate(
            "minimum quality",
            f"AUC-ROC {quality:.3f} on injected anomalies",
            f"at least {LEAST_QUALITY}",
            quality >= LEAST_QUALITY,
        )
    )
    before = None if serving is None else serving.get("auc_roc")
    if before is not None:
        gates.append(
            Gate(
                "no worse than the champion",
                f"AUC-ROC {quality:.3f} on the same scans",
                f"at least {before - TOLERANCE:.3f} (champion {before:.3f})",
                quality >= before - TOLERANCE,
            )
        )
    return decide(gates, f"AUC-ROC {quality:.3f} on injected anomalies")


def build_scan_champion(stream: ScanStream) -> AssetsDefinition:
    """Return the asset ``[stream, champion]``."""

    @asset(
        key=stream.key("champion"),
        deps=[stream.key(f"{detector}_model") for detector in stream.detectors],
        group_name=stream.name,
        kinds={"postgres", "safetensors"},
        owners=list(stream.owners),
        tags={"stage": "champion"},
        description=(
            "The models that score, one per detector, and the fusion that weighs them: the newest "
            "set that passed its gate."
        ),
        required_resource_keys={"platform"},
    )
    def champion(context: AssetExecutionContext) -> MaterializeResult[None]:
        platform: Platform = context.resources.platform
        return promote_newest_set(platform, stream)

    return champion


def promote_newest_set(platform: Platform, stream: ScanStream) -> MaterializeResult[None]:
    """Calibrate the newest models together, judge the set, and promote or reject it."""
    bundles = platform.warehouse.bundles
    challenger = _challenger(platform, stream)
    served = bundles.champions(stream.name)
    newest = {name: record.version for name, record in challenger.members.items()}
    if {name: served.get(name) for name in newest} == newest:
        return _result(platform, stream, None, {})
    window = scan_window(platform, stream)
    scans = challenger.models.rules.score(read_window(platform, window), reasons=False)
    began = time.perf_counter()
    with new_version(platform, stream, stream.scored_by) as version:
        models = _fused(platform, stream, challenger.models, scans)
        metrics = _quality(platform, stream, scans, models)
        before = None
        if stream.scored_by in served:
            serving = read_serving(platform, stream, served[stream.scored_by])
            before = _quality(platform, stream, scans, serving)
        _publish_fusion(platform, stream, version, challenger, models, scans, metrics, began)
    decision = judge_set(
        metrics,
        before,
        trained_on=challenger.features,
        computed=stream.features.version,
    )
    versions = {**newest, stream.scored_by: version}
    _act(platform, stream, versions, served, decision)
    return _result(platform, stream, Verdict(version, decision), metrics)


def _act(
    platform: Platform,
    stream: ScanStream,
    versions: dict[str, int],
    served: dict[str, int],
    decision: "Decision",
) -> None:
    bundles, gates = platform.warehouse.bundles, decision.rows()
    trained = [
        bundles.get(stream.name, detector, one)
        for detector, one in versions.items()
        if served.get(detector) != one
    ]

    def tell(connection: Connection) -> None:
        fusion = versions[stream.scored_by]
        tell_of_verdict(platform, connection, stream, stream.scored_by, fusion, decision)
        why = why_of(decision)
        for record in filter(None, trained):
            tell_of_outcome(platform, connection, record, serves=decision.promote, why=why)

    if decision.promote:
        bundles.promote_set(stream.name, versions, decision.reason, gates=gates, also=tell)
        return
    for detector, one in versions.items():
        also = tell if detector == stream.scored_by else None
        bundles.reject(stream.name, detector, one, decision.reason, gates=gates, also=also)


def _challenger(platform: Platform, stream: ScanStream) -> Challenger:
    from anomaly_platform.ml.scans.bundles import read_detector
    from anomaly_platform.ml.scans.scoring import BarcodeModels

    members: dict[str, BundleRecord] = {}
    parts: dict[str, Any] = {}
    for detector in stream.detectors:
        record = newest_usable(platform, stream, detector)
        if record is None:
            continue
        members[detector] = record
        parts[detector] = read_detector(
            folder_of(platform, stream, detector, record.version),
            detector,
            available=available_columns(stream),
            expected_digest=record.digest,
        )
    if "rules" not in parts:
        raise Failure(f"{stream.name} has no rules yet; materialize rules_model first")
    models = BarcodeModels(parts["rules"], parts.get("lstm"), parts.get("svm"))
    return Challenger(members, models, _features_of(platform, stream, members))


def _features_of(platform: Platform, stream: ScanStream, members: dict[str, BundleRecord]) -> str:
    """Return the version of the features that the models read; several where they differ."""
    versions = set()
    for detector, record in members.items():
        manifest = folder_of(platform, stream, detector, record.version) / "manifest.json"
        versions.add(str(json.loads(manifest.read_bytes())["feature_schema"]["version"]))
    return ", ".join(sorted(versions))


def _fused(
    platform: Platform, stream: ScanStream, models: "BarcodeModels", scans: "pl.DataFrame"
) -> "BarcodeModels":
    from dataclasses import replace

    from anomaly_platform.ml.scans.fusion import FusionWeights
    from anomaly_platform.ml.scans.scoring import fit_fusion

    fusion = fit_fusion(
        scans,
        models.lstm,
        models.svm,
        weights=FusionWeights(*stream.weights),
        alpha=platform.alpha_of(stream),
    )
    return replace(models, fusion=fusion)


def _quality(
    platform: Platform, stream: ScanStream, scans: "pl.DataFrame", models: "BarcodeModels"
) -> dict[str, Any]:
    from anomaly_platform.ml.training.scan_quality import inject_scans, measure

    def judge(held: "pl.DataFrame") -> Any:
        scored = models.score(held, threshold=platform.threshold_of(stream))
        return scored["final_confidence"].to_numpy(), scored["is_anomaly"].to_numpy()

    return measure(inject_scans(scans, stream.features, seed=platform.settings.seed), judge)


def _publish_fusion(
    platform: Platform,
    stream: ScanStream,
    version: int,
    challenger: Challenger,
    models: "BarcodeModels",
    scans: "pl.DataFrame",
    metrics: dict[str, Any],
    began: float,
) -> None:
    from anomaly_platform.ml.scans.bundles import fusion_arrays

    if models.fusion is None:
        raise AssertionError("a set without its fusion")
    rules, lstm, svm = stream.weights
    publish(
        platform,
        stream,
        stream.scored_by,
        version,
        scan_window(platform, stream),
        Trained(
            fusion_arrays(models.fusion, scans),
            metrics,
            {
                "weights": {"rules": rules, "lstm": lstm, "svm": svm},
                "alpha": platform.alpha_of(stream),
            },
            {
                "training_samples": scans.height,
                "validation_samples": 0,
                "test_samples": metrics["test_samples"],
            },
            time.perf_counter() - began,
            members={
                name: {"version": record.version, "digest": record.digest}
                for name, record in challenger.members.items()
            },
        ),
        _origin_of(challenger),
    )


def _origin_of(challenger: Challenger) -> TrainingOrigin:
    """Return why the set is made anew: for what its newest member was trained."""
    newest = max(challenger.members.values(), key=lambda one: one.created_at)
    return TrainingOrigin(
        *(str(newest.parameters.get(name, "")) for name in ("run_id", "cause", "reason"))
    )


def read_serving(platform: Platform, stream: ScanStream, version: int) -> "BarcodeModels":
    """Open the set that a fusion names, verified."""
    from anomaly_platform.ml.scans.bundles import read_set

    return read_set(
        lambda detector, one: folder_of(platform, stream, detector, one),
        version,
        available=available_columns(stream),
    )


def _result(
    platform: Platform, stream: ScanStream, verdict: Verdict | None, metrics: dict[str, Any]
) -> MaterializeResult[None]:
    bundles = platform.warehouse.bundles
    serving = bundles.champions(stream.name)
    return MaterializeResult(
        metadata={
            "promoted": MetadataValue.bool(verdict is not None and verdict.decision.promote),
            "reason": MetadataValue.text(
                "the newest models serve already" if verdict is None else verdict.decision.reason
            ),
            "gates": gates_table([] if verdict is None else [verdict]),
            "metrics": MetadataValue.json(metrics),
            "serving versions": MetadataValue.json(serving),
            "history": records_table(
                [
                    {
                        "set": one.version,
                        "since": f"{one.promoted_at:%Y-%m-%d %H:%M}",
                        "why": one.reason,
                    }
                    for one in reversed(bundles.history(stream.name, stream.scored_by))
                ]
            ),
        }
    )
