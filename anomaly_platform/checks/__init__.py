"""The graph's asset checks: one module per group of stages.

What belongs here: what has to hold of a stage whatever the kind of stream, and the way to Dagster.
What differs between kinds is asked of ``platform.kind(stream)``.
"""

from dagster import AssetChecksDefinition

from anomaly_platform.checks.features import build_feature_checks
from anomaly_platform.checks.ingested import build_raw_checks, build_validated_checks
from anomaly_platform.checks.models import build_champion_checks, build_model_checks
from anomaly_platform.checks.scored import build_monitoring_checks, build_scored_checks
from anomaly_platform.platform import Platform
from anomaly_platform.streams import Stream


def build_checks(stream: Stream, platform: Platform) -> list[AssetChecksDefinition]:
    """Return the checks of every stage of a stream."""
    kind = platform.kind(stream)
    return [
        build_raw_checks(stream),
        build_validated_checks(stream),
        build_feature_checks(kind),
        *build_model_checks(kind),
        build_champion_checks(kind),
        build_scored_checks(kind),
        build_monitoring_checks(stream),
    ]
