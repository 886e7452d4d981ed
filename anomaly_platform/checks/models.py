"""Checks of ``isolation_forest_model`` and ``champion``: whole, small, and good enough."""

from dagster import (
    AssetCheckExecutionContext,
    AssetChecksDefinition,
)

from anomaly_platform.assets.models import open_version
from anomaly_platform.checks.scope import Results, StageChecks
from anomaly_platform.platform import DETECTOR, Platform
from anomaly_platform.streams import MetricStream

#: Largest bundle in bytes per trained series, and what a bundle may weigh besides.
BYTES_PER_SERIES = 250_000
BYTES_BESIDES = 1_000_000


def build_model_checks(stream: MetricStream) -> AssetChecksDefinition:
    """Return the checks of the newest bundle."""
    stage = f"{DETECTOR}_model"
    declared = StageChecks(
        stream,
        stage,
        {
            "bundle_opens": "The newest bundle has all its files, with the digests it names.",
            "bundle_size": f"At most {BYTES_PER_SERIES // 1000} KB per trained series.",
            "accuracy": (
                "Median balanced accuracy on held-out days with injected anomalies is at "
                f"least {stream.retraining.minimum_quality:.2f}."
            ),
        },
        blocking=("bundle_opens",),
        warning=("accuracy",),
    )

    @declared.define
    def checks(_context: AssetCheckExecutionContext, platform: Platform) -> Results:
        newest = next(
            (b for b in platform.warehouse.bundles.all(stream.name, DETECTOR) if b.path), None
        )
        if newest is None:
            for check in ("bundle_opens", "bundle_size", "accuracy"):
                yield declared.verdict(check, [], "nothing has been trained yet")
            return
        problems, size, trained = [], 0, 0
        try:
            bundle = open_version(platform, stream, newest.version)
            size = sum(f["bytes"] for f in bundle.manifest["files"].values())
            trained = bundle.manifest["data"]["trained"]
        except Exception as error:
            problems.append(f"version {newest.version}: {error}")
        yield declared.verdict("bundle_opens", problems, f"version {newest.version}")
        allowed = BYTES_BESIDES + trained * BYTES_PER_SERIES
        yield declared.verdict(
            "bundle_size",
            [f"{size:,} bytes for {trained} series; {allowed:,} are allowed"]
            if size > allowed
            else [],
            f"{size:,} bytes for {trained} series",
            bytes=size,
        )
        accuracy = newest.metrics.get("balanced_accuracy_median")
        poor = accuracy is not None and accuracy < stream.retraining.minimum_quality
        yield declared.verdict(
            "accuracy",
            [f"median balanced accuracy is {accuracy:.3f}"] if poor else [],
            "nothing was measured"
            if accuracy is None
            else f"median balanced accuracy is {accuracy:.3f}",
        )

    return checks


def build_champion_checks(stream: MetricStream) -> AssetChecksDefinition:
    """Return the checks of the version in service."""
    check = "serves_this_feature_set"
    declared = StageChecks(
        stream,
        "champion",
        {check: "The champion was trained on the features that are computed today."},
    )

    @declared.define
    def checks(_context: AssetCheckExecutionContext, platform: Platform) -> Results:
        champion = platform.warehouse.bundles.champion(stream.name, DETECTOR)
        if champion is None:
            yield declared.verdict(check, [], "nothing serves yet")
            return
        bundle = open_version(platform, stream, champion.version)
        trained_on = bundle.manifest["feature_schema"]["version"]
        stale = (
            f"version {champion.version} was trained on features {trained_on}, "
            f"{stream.features.version} are computed; train anew"
        )
        yield declared.verdict(
            check,
            [] if trained_on == stream.features.version else [stale],
            f"version {champion.version}, features {trained_on}",
        )

    return checks
