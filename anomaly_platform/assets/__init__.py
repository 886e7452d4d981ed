"""The graph's assets: one module per stage, each a factory over streams.

What belongs here: what Dagster needs of a stage, and the steps that it takes whatever the kind of
stream. What differs between kinds is asked of ``platform.kind(stream)``.
"""

from dagster import AssetsDefinition

from anomaly_platform.assets.champion import build_champion
from anomaly_platform.assets.features import build_features
from anomaly_platform.assets.models import build_models
from anomaly_platform.assets.monitoring import build_monitoring_stats
from anomaly_platform.assets.raw import build_raw_events
from anomaly_platform.assets.scored import build_scored_events
from anomaly_platform.assets.validated import build_validated_events
from anomaly_platform.platform import Platform
from anomaly_platform.streams import Stream


def build_assets(stream: Stream, platform: Platform) -> list[AssetsDefinition]:
    """Return every stage of a stream, from raw events to monitoring."""
    return [
        build_raw_events(stream, platform),
        build_validated_events(stream, platform),
        build_features(stream, platform),
        *build_models(stream, platform),
        build_champion(stream, platform),
        build_scored_events(stream, platform),
        build_monitoring_stats(stream, platform),
    ]
