"""Asset checks, one module per group of stages."""

from __future__ import annotations

from dagster import AssetChecksDefinition

from anomaly_platform.checks.features import build_feature_checks
from anomaly_platform.checks.ingested import build_raw_checks, build_validated_checks
from anomaly_platform.checks.models import build_champion_checks, build_model_checks
from anomaly_platform.checks.scan_models import build_scan_model_checks
from anomaly_platform.checks.scans import build_scan_checks
from anomaly_platform.checks.scored import build_monitoring_checks, build_scored_checks
from anomaly_platform.streams import MetricStream, ScanStream, Stream


def build_checks(stream: Stream) -> list[AssetChecksDefinition]:
    """Return the checks of every stage of a stream.

    Raises
    ------
    TypeError
        When there are no checks for this kind of stream.
    """
    either = [
        build_raw_checks(stream),
        build_validated_checks(stream),
        build_monitoring_checks(stream),
    ]
    if isinstance(stream, MetricStream):
        return [
            *either,
            build_feature_checks(stream),
            build_model_checks(stream),
            build_champion_checks(stream),
            build_scored_checks(stream),
        ]
    if isinstance(stream, ScanStream):
        return [*either, *build_scan_checks(stream), *build_scan_model_checks(stream)]
    raise TypeError(f"no checks for {type(stream).__name__}")
