"""The one place where assets, checks, sensors, jobs and resources meet."""

import warnings
from collections.abc import Mapping
from typing import Any

import structlog
from dagster import (
    AssetsDefinition,
    AssetSelection,
    AutomationConditionSensorDefinition,
    BetaWarning,
    DefaultSensorStatus,
    Definitions,
    PreviewWarning,
    define_asset_job,
    definitions,
    in_process_executor,
    with_source_code_references,
)

from anomaly_platform.assets.champion import build_champion
from anomaly_platform.assets.features import build_features
from anomaly_platform.assets.models import build_models
from anomaly_platform.assets.monitoring import build_monitoring_stats
from anomaly_platform.assets.raw import build_raw_events
from anomaly_platform.assets.scored import build_scored_events
from anomaly_platform.assets.validated import build_validated_events
from anomaly_platform.checks import build_checks
from anomaly_platform.logs import configure_logging
from anomaly_platform.platform import Platform
from anomaly_platform.resources.trainer import Trainer
from anomaly_platform.runtime.brief_end import end_code_server_briefly
from anomaly_platform.runtime.warm_runs import start_runs_warm
from anomaly_platform.sensors.alerts import build_alert_sensors
from anomaly_platform.sensors.ems_pull import build_ems_sensors
from anomaly_platform.sensors.landing import build_landing_sensors
from anomaly_platform.sensors.registry import build_registry_job, build_registry_sensor
from anomaly_platform.sensors.retraining import build_retraining_sensors
from anomaly_platform.sensors.upkeep import build_upkeep
from anomaly_platform.settings import get_settings
from anomaly_platform.storage.own_files import keep_to_own_user
from anomaly_platform.streams import Stream

CHECKS_JOB = "asset_checks"

log = structlog.get_logger(__name__)

# Backfill policies and Pipes are used knowingly; the version is pinned.
warnings.filterwarnings("ignore", category=BetaWarning)
warnings.filterwarnings("ignore", category=PreviewWarning)


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


def build_defs(
    *,
    platform: Platform | None = None,
    resource_overrides: Mapping[str, Any] | None = None,
) -> Definitions:
    """Return fresh definitions over a platform.

    Parameters
    ----------
    platform : Platform or None
        Streams, settings and stores; ``None`` reads the settings of this process. Nothing is
        opened before a step or a sensor needs it.
    resource_overrides : mapping or None
        Resources by key that replace the platform's own, for tests.

    Returns
    -------
    Definitions
        A new object at every call.
    """
    if platform is None:
        settings = get_settings()
        configure_logging(settings.log_level)
        platform = Platform(settings)
    for bad in platform.bad_streams:
        log.warning("stream left out", file=str(bad.path), problem=str(bad))
    streams = platform.streams
    registry_job = build_registry_job()
    upkeep, daily_upkeep = build_upkeep()
    return Definitions(
        assets=with_source_code_references(
            [asset for stream in streams for asset in build_assets(stream, platform)]
        ),
        asset_checks=[check for stream in streams for check in build_checks(stream, platform)],
        sensors=[
            *(
                sensor
                for stream in streams
                for sensor in (
                    *build_landing_sensors(
                        stream, platform.first_day_of(stream), watched=platform.landing.is_local
                    ),
                    *build_retraining_sensors(stream),
                )
            ),
            *build_alert_sensors(),
            *build_ems_sensors(platform.settings),
            build_registry_sensor(registry_job),
            AutomationConditionSensorDefinition(
                "automation",
                target=AssetSelection.all(),
                default_status=DefaultSensorStatus.RUNNING,
                description="Materializes assets by the conditions in their definitions.",
            ),
        ],
        jobs=[
            define_asset_job(
                CHECKS_JOB,
                selection=AssetSelection.all_asset_checks(),
                description="Every asset check of every stream, as `anomaly check` runs them.",
            ),
            registry_job,
            upkeep,
        ],
        schedules=[daily_upkeep],
        resources={"platform": platform, "trainer": Trainer(), **(resource_overrides or {})},
        # Steps of a metric stream are short: one process per run spares each step seconds of
        # imports, and days are worked through in bounded chunks anyway.
        executor=in_process_executor,
    )


@definitions
def defs() -> Definitions:
    """Build the graph when Dagster asks for it, not when a test imports this module."""
    # Dagster's own processes, too: files of runs, exports and models are of this user alone.
    keep_to_own_user()
    end_code_server_briefly()
    start_runs_warm()
    return build_defs()
