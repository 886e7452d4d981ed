"""Alerts about the platform itself: runs that failed, checks that did, and who is not heard.

What belongs here: turning what Dagster recorded into alerts, and ending them when the same work
succeeds. A failed check that does not block leaves its run green, so checks are watched by
themselves. How alerts are counted, held back and told is in ``notifications.outbox``.
"""

from datetime import UTC, datetime
from typing import Any

from dagster import (
    AssetCheckEvaluation,
    AssetCheckSeverity,
    DagsterEvent,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    DefaultSensorStatus,
    EventRecordsFilter,
    ResourceParam,
    RunFailureSensorContext,
    RunStatusSensorContext,
    SensorDefinition,
    SensorEvaluationContext,
    SkipReason,
    run_failure_sensor,
    run_status_sensor,
)

from anomaly_platform.incidents.silence import tell_of_silence
from anomaly_platform.notifications.outbox import Alert, fingerprint
from anomaly_platform.notifications.redaction import Redactor
from anomaly_platform.platform import Platform
from anomaly_platform.sensors.work import REASON_TAG, STAGE_TAG, STREAM_TAG, watching

_TICK_SECONDS = 30
_SILENCE_SECONDS = 60
_EVERY_RUN: dict[str, Any] = {
    "minimum_interval_seconds": _TICK_SECONDS,
    "default_status": DefaultSensorStatus.RUNNING,
    "monitor_all_code_locations": True,
}
_MOST_EVALUATIONS_A_TICK = 500
_LONGEST_ERROR = 500
#: Of an error's first line in a title: subjects of messages and lines of lists stay readable.
_LONGEST_CAUSE = 160


def build_alert_sensors() -> list[SensorDefinition]:
    """Return the sensors that watch runs and checks, all running from the start."""
    return [_failed_runs(), _succeeded_runs(), _checks(), _silence()]


def _failed_runs() -> SensorDefinition:
    @run_failure_sensor(
        name="alert_on_failed_runs",
        description="Raises an alert when a run fails; repeats of the same work are one alert.",
        **_EVERY_RUN,
    )
    def _sensor(context: RunFailureSensorContext, platform: ResourceParam[Platform]) -> None:
        # Before anything is cut: half of a secret would not be recognized.
        clean = Redactor.of(platform.settings).clean
        steps = {
            event.step_key: clean(_root_message(event.step_failure_data.error))
            for event in context.get_step_failure_events()
            if event.step_key is not None
        }
        said = clean(_said_of_run(context.failure_event))
        alert = run_alert(context.dagster_run, steps, said)
        with platform.warehouse.transactions.begin() as connection:
            platform.outbox.raise_alert(connection, alert)

    return _sensor


def _succeeded_runs() -> SensorDefinition:
    @run_status_sensor(
        run_status=DagsterRunStatus.SUCCESS,
        name="resolve_alerts_of_runs",
        description="Ends the alert of failed runs when the same work succeeds.",
        **_EVERY_RUN,
    )
    def _sensor(context: RunStatusSensorContext, platform: ResourceParam[Platform]) -> None:
        run = context.dagster_run
        with platform.warehouse.transactions.begin() as connection:
            platform.outbox.resolve_alert(
                connection, fingerprint("run_failed", *work_of(run)), {"run": run.run_id}
            )

    return _sensor


def _checks() -> SensorDefinition:
    @watching(
        name="alert_on_checks",
        description="Raises an alert for each asset check that fails, ends it when it passes.",
        minimum_interval_seconds=_TICK_SECONDS,
    )
    def _sensor(context: SensorEvaluationContext) -> SkipReason:
        if context.cursor is None:
            # What was evaluated before anybody watched is history.
            newest = context.instance.event_log_storage.get_maximum_record_id() or 0
            context.update_cursor(str(newest))
            return SkipReason("watching from now on")
        platform: Platform = context.resources.platform
        seen, newest = watch_checks(platform, context.instance, int(context.cursor))
        context.update_cursor(str(newest))
        return SkipReason(f"{seen} evaluations seen")

    return _sensor


def _silence() -> SensorDefinition:
    @watching(
        name="alert_on_silence",
        description="Tells of devices and series that are no longer heard, and of their return.",
        minimum_interval_seconds=_SILENCE_SECONDS,
    )
    def _sensor(context: SensorEvaluationContext) -> SkipReason:
        platform: Platform = context.resources.platform
        silent = 0
        for stream in platform.streams:
            with platform.warehouse.transactions.begin() as connection:
                silent += tell_of_silence(
                    connection, platform.outbox, stream.name, stream.title, datetime.now(UTC)
                )[0]
        return SkipReason(f"{silent} are silent")

    return _sensor


def watch_checks(platform: Platform, instance: DagsterInstance, after: int) -> tuple[int, int]:
    """Raise and end alerts for the check evaluations after an event of Dagster's log.

    Parameters
    ----------
    platform : Platform
    instance : DagsterInstance
    after : int
        Number of the last event that was seen. A tick that happens twice counts nothing twice.

    Returns
    -------
    tuple of int
        How many evaluations there were, and the number of the last.
    """
    records = instance.get_event_records(
        EventRecordsFilter(DagsterEventType.ASSET_CHECK_EVALUATION, after_cursor=after),
        limit=_MOST_EVALUATIONS_A_TICK,
        ascending=True,
    )
    with platform.warehouse.transactions.begin() as connection:
        for record in records:
            entry = record.event_log_entry
            if entry.dagster_event is None:
                continue
            evaluation = entry.dagster_event.asset_check_evaluation_data
            if evaluation.passed:
                platform.outbox.resolve_alert(
                    connection, check_fingerprint(evaluation), {"run": entry.run_id}
                )
            else:
                platform.outbox.raise_alert(connection, check_alert(evaluation, entry.run_id))
    return len(records), records[-1].storage_id if records else after


def work_of(run: DagsterRun) -> tuple[str, str]:
    """Return a run's stream and kind of work, from its tags or from what it materializes."""
    stream = run.tags.get(STREAM_TAG)
    if stream is not None:
        return stream, run.tags.get(STAGE_TAG, "run")
    streams = sorted({key.path[0] for key in run.asset_selection or ()})
    return (streams[0] if len(streams) == 1 else "platform"), f"{run.job_name} by hand"


def run_alert(run: DagsterRun, steps: dict[str, str], message: str) -> Alert:
    """Return the alert of a failed run.

    Parameters
    ----------
    run : DagsterRun
    steps : dict of str to str
        The steps that failed, and why.
    message : str
        What Dagster says about the run.
    """
    stream, work = work_of(run)
    failed = ", ".join(step.replace("__", "/") for step in steps) or "the run itself"
    cause = next((said for said in steps.values() if said), message)
    return Alert(
        kind="run_failed",
        fingerprint=fingerprint("run_failed", stream, work),
        subject=f"{stream} {work}",
        severity="warning",
        title=f"A run of {stream} ({work}) failed at {failed}: {_first_line(cause)}",
        stream=stream,
        details={
            "run": run.run_id,
            "reason of the run": run.tags.get(REASON_TAG),
            "errors": {
                step: error[:_LONGEST_ERROR] for step, error in (steps or {"run": message}).items()
            },
        },
        occurrence=run.run_id,
    )


def check_fingerprint(evaluation: AssetCheckEvaluation) -> str:
    """Return the fingerprint of a check's alert."""
    return fingerprint("check_failed", *evaluation.asset_key.path, evaluation.check_name)


def check_alert(evaluation: AssetCheckEvaluation, run_id: str) -> Alert:
    """Return the alert of a check that failed; critical where its severity is ERROR."""
    path = evaluation.asset_key.path
    is_error = evaluation.severity == AssetCheckSeverity.ERROR
    return Alert(
        kind="check_failed",
        fingerprint=check_fingerprint(evaluation),
        subject="/".join((*path, evaluation.check_name)),
        severity="critical" if is_error else "warning",
        title=f"The check {evaluation.check_name} of {'/'.join(path)} failed",
        stream=path[0],
        details={
            "run": run_id,
            "said": evaluation.description,
            "partition": evaluation.partition,
            **{
                name: value.value
                for name, value in evaluation.metadata.items()
                if isinstance(value.value, (str, int, float, bool, list))
            },
        },
        occurrence=run_id,
    )


def _said_of_run(event: DagsterEvent) -> str:
    """Return why a run failed without a step that did: it could not start, or was killed."""
    error = getattr(event.event_specific_data, "error", None)
    return _root_message(error) or event.message or ""


def _first_line(text: str) -> str:
    line = next((line.strip() for line in text.splitlines() if line.strip()), "no reason is known")
    return line if len(line) <= _LONGEST_CAUSE else f"{line[: _LONGEST_CAUSE - 1]}…"


def _root_message(error: Any) -> str:
    """Return the message of the error that all began with."""
    while error is not None and error.cause is not None:
        error = error.cause
    return "" if error is None else str(error.message).strip()
