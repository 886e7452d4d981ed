"""Keeps MLflow's registry up with the platform's: a sensor that sees rows, a job that tells them.

What belongs here: when the mirror is worked off. The job runs in a process of its own, since
importing MLflow costs 3.5 s and 195 MB that neither the daemon nor anything that scores may pay.
"""

from dagster import (
    JobDefinition,
    OpExecutionContext,
    RunRequest,
    SensorDefinition,
    SensorEvaluationContext,
    SkipReason,
    job,
    op,
)

from anomaly_platform.assets.stage import as_failures
from anomaly_platform.platform import Platform
from anomaly_platform.sensors.work import recent_work, watching, work_tags

JOB = "registry_mirror"

_TICK_SECONDS = 30
_EVERYTHING = "registry"


def build_registry_job() -> JobDefinition:
    """Return the job that tells MLflow of everything that waits."""

    @op(required_resource_keys={"platform"}, description="Runs, versions and aliases to MLflow.")
    def tell_mlflow(context: OpExecutionContext) -> None:
        platform: Platform = context.resources.platform
        with as_failures():
            drained = platform.mlflow_mirror.drain()
        context.log.info("told MLflow of %d changes, %d wait", drained.done, drained.waiting)
        if drained.error:
            # Not a failed run: what waits is tried again, and nothing else depends on it.
            context.log.warning("MLflow does not take them: %s", drained.error)

    @job(name=JOB, description="MLflow's registry, brought up to the platform's tables.")
    def registry_mirror() -> None:
        tell_mlflow()

    return registry_mirror


def build_registry_sensor(registry_job: JobDefinition) -> SensorDefinition:
    """Return the sensor that asks for the job when something has to be told."""

    @watching(
        name=JOB,
        description="Tells MLflow of new versions, promotions and rejections.",
        job=registry_job,
        minimum_interval_seconds=_TICK_SECONDS,
    )
    def _sensor(context: SensorEvaluationContext) -> RunRequest | SkipReason:
        platform: Platform = context.resources.platform
        due = len(platform.warehouse.mlflow_updates.due())
        if not due:
            return SkipReason("MLflow knows everything that is due")
        if recent_work(context.instance, _EVERYTHING, JOB).under_way:
            return SkipReason("a run is under way")
        return RunRequest(tags=work_tags(_EVERYTHING, JOB, f"{due} changes to tell"))

    return _sensor
