"""One module per stage, each a factory over streams."""

from __future__ import annotations

from dagster import AssetsDefinition

from anomaly_platform.assets.champion import build_champion
from anomaly_platform.assets.features import build_features
from anomaly_platform.assets.models import build_isolation_forest_model
from anomaly_platform.assets.monitoring import build_monitoring_stats
from anomaly_platform.assets.raw import build_raw_events
from anomaly_platform.assets.scan_champion import build_scan_champion
from anomaly_platform.assets.scan_models import build_rules_model, build_svm_model
from anomaly_platform.assets.scan_monitoring import build_scan_monitoring_stats
from anomaly_platform.assets.scan_scored import build_scan_scored_events
from anomaly_platform.assets.scored import build_scored_events
from anomaly_platform.assets.sequence_model import build_lstm_model
from anomaly_platform.assets.validated import build_validated_events
from anomaly_platform.platform import Platform
from anomaly_platform.streams import MetricStream, ScanStream, Stream


def build_assets(stream: Stream, platform: Platform) -> list[AssetsDefinition]:
    """Return every stage of a stream, from raw events to monitoring.

    Raises
    ------
    TypeError
        When there are no stages for this kind of stream.
    """
    ingested = [build_raw_events(stream), build_validated_events(stream, platform)]
    if isinstance(stream, MetricStream):
        return [
            *ingested,
            build_features(stream, platform),
            build_isolation_forest_model(stream),
            build_champion(stream),
            build_scored_events(stream, platform),
            build_monitoring_stats(stream, platform),
        ]
    if isinstance(stream, ScanStream):
        return [
            *ingested,
            build_features(stream, platform),
            build_rules_model(stream),
            build_svm_model(stream),
            build_lstm_model(stream),
            build_scan_champion(stream),
            build_scan_scored_events(stream, platform),
            build_scan_monitoring_stats(stream, platform),
        ]
    raise TypeError(f"no stages for {type(stream).__name__}")
