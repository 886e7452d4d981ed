"""``rules_model`` and ``svm_model``: what is learned of scans within seconds.

What belongs here: feeding the library and entering the bundles. How they learn is in
``ml.detectors``; the sequence model, which takes longer, is in ``sequence_model``.
"""

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dagster import AssetExecutionContext, AssetsDefinition, MaterializeResult, MetadataValue, asset

from anomaly_platform.assets.metadata import records_table
from anomaly_platform.assets.scan_window import (
    Trained,
    new_version,
    publish,
    read_rules,
    read_window,
    scan_window,
)
from anomaly_platform.assets.training_config import (
    TrainingConfig,
    TrainingOrigin,
    refuse_series,
)
from anomaly_platform.platform import Platform
from anomaly_platform.streams import ScanStream

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import polars as pl

_ROUTES_SHOWN = 20
_CANDIDATES_SHOWN = 20


def build_rules_model(stream: ScanStream) -> AssetsDefinition:
    """Return the asset ``[stream, rules_model]``."""

    @asset(
        key=stream.key("rules_model"),
        deps=[stream.key("features")],
        group_name=stream.name,
        kinds={"polars", "safetensors"},
        owners=list(stream.owners),
        tags={"stage": "model"},
        description=(
            "What the five rules know: places, companies, tiers and vehicles from the reference "
            "files, and how long each route takes, learned from the last "
            f"{stream.retraining.window.days} days."
        ),
        required_resource_keys={"platform"},
    )
    def rules_model(
        context: AssetExecutionContext, config: TrainingConfig
    ) -> MaterializeResult[None]:
        platform: Platform = context.resources.platform
        refuse_series(stream.name, config)
        from anomaly_platform.ml.detectors.rules.detector import RulesModel
        from anomaly_platform.ml.features.scans.reference import ScanReference

        window = scan_window(platform, stream, window_days=config.window_days)
        scans = read_window(platform, window)
        folder = platform.reference_folder(stream)
        reference = ScanReference.read(folder)
        if reference.locations.is_empty():
            context.log.warning("no places are known; %s holds no locations.csv", folder)
        began = time.perf_counter()
        with new_version(platform, stream, "rules") as version:
            rules = RulesModel.fit(scans, reference)
            seconds = time.perf_counter() - began
            metrics = rules_quality(stream, scans, rules, platform.settings.seed)
            publish(
                platform,
                stream,
                "rules",
                version,
                window,
                Trained(
                    rules.to_arrays(),
                    metrics,
                    asdict(rules.parameters),
                    {
                        "training_samples": scans.height,
                        "validation_samples": 0,
                        "test_samples": metrics["test_samples"],
                        "places": reference.locations.height,
                        "routes": rules.routes.table.height,
                    },
                    seconds,
                ),
                TrainingOrigin.of(context, config),
            )
        routes = rules.routes.table.sort("trips", descending=True).head(_ROUTES_SHOWN)
        return MaterializeResult(
            metadata={
                "version": MetadataValue.int(version),
                "scans": MetadataValue.int(scans.height),
                "places": MetadataValue.int(reference.locations.height),
                "metrics": MetadataValue.json(metrics),
                "busiest routes": records_table(routes.to_dicts()),
            }
        )

    return rules_model


def build_svm_model(stream: ScanStream) -> AssetsDefinition:
    """Return the asset ``[stream, svm_model]``."""

    @asset(
        key=stream.key("svm_model"),
        deps=[stream.key("features"), stream.key("rules_model")],
        group_name=stream.name,
        kinds={"sklearn", "safetensors"},
        owners=list(stream.owners),
        tags={"stage": "model"},
        description=(
            "A one-class SVM over ten numbers of a scan, its parameters searched by "
            "cross-validation, calibrated on the window's last fifth."
        ),
        required_resource_keys={"platform"},
    )
    def svm_model(
        context: AssetExecutionContext, config: TrainingConfig
    ) -> MaterializeResult[None]:
        platform: Platform = context.resources.platform
        refuse_series(stream.name, config)
        from anomaly_platform.ml.detectors.one_class_svm import SvmSearch
        from anomaly_platform.ml.detectors.one_class_svm_scans import CalibratedSvm

        window = scan_window(platform, stream, window_days=config.window_days)
        record, rules = read_rules(platform, stream)
        scans = rules.score(read_window(platform, window), reasons=False)
        began = time.perf_counter()
        with new_version(platform, stream, "svm") as version:
            svm = CalibratedSvm.fit(
                scans,
                rules.reference,
                seed=platform.settings.seed,
                search=SvmSearch(**stream.search),
            )
            seconds = time.perf_counter() - began
            alpha = platform.alpha_of(stream)
            metrics = learned_quality(
                stream, scans, lambda held: svm.judge(held).p_values, alpha, platform.settings.seed
            )
            chosen = svm.svm.chosen
            search = sorted(svm.svm.search_scores.items(), key=lambda item: -item[1])
            publish(
                platform,
                stream,
                "svm",
                version,
                window,
                Trained(
                    svm.to_arrays(),
                    metrics,
                    {
                        **(chosen._asdict() if chosen is not None else {}),
                        "seed": platform.settings.seed,
                        "rules": record.version,
                    },
                    {
                        "training_samples": scans.height - svm.calibration.rows,
                        "validation_samples": svm.calibration.rows,
                        "test_samples": metrics["test_samples"],
                    },
                    seconds,
                ),
                TrainingOrigin.of(context, config),
            )
        return MaterializeResult(
            metadata={
                "version": MetadataValue.int(version),
                "scans": MetadataValue.int(scans.height),
                "training seconds": MetadataValue.float(seconds),
                "metrics": MetadataValue.json(metrics),
                "search": records_table(
                    [
                        {**candidate._asdict(), "gamma": str(candidate.gamma), "AUC-ROC": score}
                        for candidate, score in search[:_CANDIDATES_SHOWN]
                    ]
                ),
            }
        )

    return svm_model


def rules_quality(
    stream: ScanStream, scans: "pl.DataFrame", rules: Any, seed: int
) -> dict[str, Any]:
    """Measure the rules on injected anomalies."""
    from anomaly_platform.ml.scans.scoring import FIRES_AT, rule_certainty
    from anomaly_platform.ml.training.scan_quality import inject_scans, measure

    def judge(
        held: "pl.DataFrame",
    ) -> "tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]":
        certainty = rule_certainty(rules.score(held, reasons=False))
        return certainty, certainty >= FIRES_AT

    return measure(inject_scans(scans, stream.features, seed=seed), judge)


def learned_quality(
    stream: ScanStream, scans: "pl.DataFrame", p_values: Any, alpha: float, seed: int
) -> dict[str, Any]:
    """Measure a learned detector on injected anomalies, by its p-values."""
    import numpy as np

    from anomaly_platform.ml.training.scan_quality import inject_scans, measure

    def judge(
        held: "pl.DataFrame",
    ) -> "tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]":
        p = p_values(held)
        return -np.log(p), p <= alpha

    return measure(inject_scans(scans, stream.features, seed=seed), judge)
