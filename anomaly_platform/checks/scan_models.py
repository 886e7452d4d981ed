"""Checks of the models of a stream of scans, and of the set in service."""

from dagster import (
    AssetCheckExecutionContext,
    AssetChecksDefinition,
)

from anomaly_platform.assets.scan_champion import LEAST_QUALITY, read_serving
from anomaly_platform.assets.scan_window import available_columns, folder_of
from anomaly_platform.checks.scope import Results, StageChecks
from anomaly_platform.platform import Platform
from anomaly_platform.streams import ScanStream

#: A model cache holds many of them (requirement B12).
MOST_BYTES = 10_000_000


def build_scan_model_checks(stream: ScanStream) -> list[AssetChecksDefinition]:
    """Return the checks of every detector's newest bundle and of the champion."""
    return [*(_model_checks(stream, name) for name in stream.detectors), _champion_checks(stream)]


def _model_checks(stream: ScanStream, detector: str) -> AssetChecksDefinition:
    stage = f"{detector}_model"
    declared = StageChecks(
        stream,
        stage,
        {
            "bundle_opens": (
                "The newest bundle has all its files, with the digests it names, and was "
                "trained on what scans have today."
            ),
            "bundle_size": f"At most {MOST_BYTES // 1_000_000} MB.",
            "better_than_chance": f"AUC-ROC on injected anomalies is at least {LEAST_QUALITY}.",
        },
        blocking=("bundle_opens",),
        warning=("better_than_chance",),
    )

    @declared.define
    def checks(_context: AssetCheckExecutionContext, platform: Platform) -> Results:
        from anomaly_platform.ml.scans.bundles import open_detector

        newest = next(
            (b for b in platform.warehouse.bundles.all(stream.name, detector) if b.path), None
        )
        if newest is None:
            for check in ("bundle_opens", "bundle_size", "better_than_chance"):
                yield declared.verdict(check, [], "nothing has been trained yet")
            return
        problems, size = [], 0
        try:
            with open_detector(
                folder_of(platform, stream, detector, newest.version),
                detector,
                available=available_columns(stream),
                expected_digest=newest.digest,
            ) as bundle:
                size = sum(f["bytes"] for f in bundle.manifest["files"].values())
        except Exception as error:
            problems.append(f"version {newest.version}: {error}")
        yield declared.verdict("bundle_opens", problems, f"version {newest.version}")
        shown = f"{size:,} bytes"
        heavy = [f"{shown}; {MOST_BYTES:,} are allowed"] if size > MOST_BYTES else []
        yield declared.verdict("bundle_size", heavy, shown, bytes=size)
        quality = newest.metrics.get("auc_roc")
        told = "nothing was measured" if quality is None else f"AUC-ROC {quality:.3f}"
        poor = quality is not None and quality < LEAST_QUALITY
        yield declared.verdict("better_than_chance", [told] if poor else [], told)

    return checks


def _champion_checks(stream: ScanStream) -> AssetChecksDefinition:
    declared = StageChecks(
        stream,
        "champion",
        {
            "set_opens": "The set in service is whole: every member with its pinned digest.",
            "quality": (
                "AUC-ROC of the set on injected anomalies is at least "
                f"{stream.retraining.minimum_quality}."
            ),
        },
        blocking=("set_opens",),
        warning=("quality",),
    )

    @declared.define
    def checks(_context: AssetCheckExecutionContext, platform: Platform) -> Results:
        champion = platform.warehouse.bundles.champion(stream.name, stream.scored_by)
        if champion is None:
            for check in ("set_opens", "quality"):
                yield declared.verdict(check, [], "the rules serve alone")
            return
        problems = []
        try:
            read_serving(platform, stream, champion.version)
        except Exception as error:
            problems.append(f"set {champion.version}: {error}")
        yield declared.verdict("set_opens", problems, f"set {champion.version}")
        record = platform.warehouse.bundles.get(stream.name, stream.scored_by, champion.version)
        quality = None if record is None else record.metrics.get("auc_roc")
        told = "nothing was measured" if quality is None else f"AUC-ROC {quality:.3f}"
        poor = quality is not None and quality < stream.retraining.minimum_quality
        yield declared.verdict("quality", [told] if poor else [], told)

    return checks
