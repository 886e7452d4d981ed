"""Retraining: from what was measured to a request, from waiting requests to one run, to an outcome.

One sensor per stream does three things at every tick, each from what the tables and Dagster's runs
say and none from memory: it ends the requests whose run has ended, asks for what the policy finds
due (``streams.retraining``), and turns what waits into one run. A sensor that is restarted, or
ticks twice, asks once; a killed run is tried again, later each time.
"""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from dagster import (
    AssetKey,
    AssetSelection,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    RunRequest,
    RunsFilter,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
)

from anomaly_platform.notifications.outbox import Alert, fingerprint
from anomaly_platform.platform import Platform
from anomaly_platform.registry.training_requests import TrainingRequest
from anomaly_platform.sensors.work import wait_after, watching, work_tags
from anomaly_platform.streams import Stream
from anomaly_platform.streams.retraining import MOST_SERIES, Decision, decide

BATCH_TAG: Final = "anomaly/training_batch"
CAUSE_TAG: Final = "anomaly/cause"
WORK: Final = "train"

#: Runs that a batch of requests gets before it counts as failed.
MOST_ATTEMPTS: Final = 5

_TICK_SECONDS = 30
_LONGEST_TAG = 250


def build_retraining_sensors(stream: Stream) -> list[SensorDefinition]:
    """Return the stream's retraining sensor, running from the start."""

    @watching(
        name=f"{stream.name}_retraining",
        description=(
            "Asks for a training when drift, age, quality, growth or labels call for one, and "
            "turns waiting requests into one run."
        ),
        target=AssetSelection.assets(*(stream.key(stage) for stage in stream.model_stages)),
        minimum_interval_seconds=_TICK_SECONDS,
    )
    def _sensor(context: SensorEvaluationContext) -> SensorResult | SkipReason:
        platform: Platform = context.resources.platform
        unsent = settle(context.instance, platform, stream, datetime.now(UTC))
        if unsent:
            return SensorResult(run_requests=[training_run(platform, stream, unsent)])
        if platform.warehouse.training_requests.running(stream.name):
            return SkipReason("a training is under way")
        asked = ask_for_what_is_due(platform, stream)
        refuse_unknown(platform, stream)
        batch = platform.warehouse.training_requests.claim(stream.name)
        if not batch:
            return SkipReason(f"{asked} asked for" if asked else "no training is due")
        return SensorResult(run_requests=[training_run(platform, stream, batch)])

    return [_sensor]


def ask_for_what_is_due(platform: Platform, stream: Stream) -> int:
    """Enter what the policy finds due as requests; return how many decisions there were."""
    least = platform.settings.min_training_samples
    evidence = platform.warehouse.training_evidence.of(stream, min_training_samples=least)
    decisions = decide(stream.retraining, evidence, min_training_samples=least)
    for decision in decisions:
        platform.warehouse.training_requests.ask(
            stream.name,
            **asdict(decision),
            requested_by="policy",
            event_watermark=evidence.newest_event,
        )
    drifted = [one for one in decisions if one.cause == "drift"]
    if drifted:
        _tell_of_drift(platform, stream, drifted, evidence.newest_event)
    return len(decisions)


def _tell_of_drift(
    platform: Platform,
    stream: Stream,
    drifted: Sequence[Decision],
    newest: datetime | None,
) -> None:
    first = drifted[0]
    named = stream.name if first.entity is None else f"{first.entity} {first.metric}"
    more = f" and {len(drifted) - 1} more series" if len(drifted) > 1 else ""
    with platform.warehouse.transactions.begin() as connection:
        platform.outbox.raise_alert(
            connection,
            Alert(
                kind="drift",
                fingerprint=fingerprint("drift", stream.name),
                subject=stream.name,
                severity="warning",
                title=f"{stream.name}: {named}{more} drifted; a training is asked for",
                stream=stream.name,
                details={"reason": first.reason, "series": len(drifted)},
                occurrence=None if newest is None else newest.isoformat(),
            ),
        )


def settle(
    instance: DagsterInstance, platform: Platform, stream: Stream, now: datetime
) -> list[TrainingRequest]:
    """End the requests whose run has ended; return a claimed batch that never got a run.

    Such a batch is left by a tick that died between claiming and handing over. Its run is asked
    for again under the same key, which Dagster honours once.
    """
    requests = platform.warehouse.training_requests
    batches: dict[UUID, list[TrainingRequest]] = {}
    for one in requests.running(stream.name):
        if one.batch is not None:
            batches.setdefault(one.batch, []).append(one)
    for batch, members in batches.items():
        runs = instance.get_runs(RunsFilter(tags={BATCH_TAG: str(batch)}), limit=1)
        if not runs:
            return members
        run = runs[0]
        requests.note_run(batch, run.run_id)
        if not run.is_finished:
            continue
        if run.status == DagsterRunStatus.SUCCESS:
            outcome, version = outcome_of(instance, platform, stream, run)
            if version is not None and any(one.cause == "drift" for one in members):
                _begin_anew(platform, stream, members, version)
            requests.finish(
                batch, status="done", outcome=outcome, detector=stream.scored_by, version=version
            )
        else:
            _failed(platform, batch, members, run, now)
    return []


def _begin_anew(
    platform: Platform, stream: Stream, members: Sequence[TrainingRequest], version: int
) -> None:
    """Let later trainings of what changed its behaviour leave out what was before the change."""
    record = platform.warehouse.bundles.get(stream.name, stream.scored_by, version)
    days = members[0].window_days
    if record is None or days is None or record.status not in ("champion", "retired"):
        return
    series = asked_series(platform, stream, members)
    with platform.warehouse.transactions.begin() as connection:
        platform.outbox.resolve_alert(
            connection, fingerprint("drift", stream.name), {"version": version}
        )
    platform.warehouse.series.begin_anew(
        stream.name,
        timedelta(days=days),
        [(one[0], one[1]) for one in series] or None,
        trained_until=record.window_end,
    )


def _failed(
    platform: Platform,
    batch: UUID,
    members: Sequence[TrainingRequest],
    run: DagsterRun,
    now: datetime,
) -> None:
    requests = platform.warehouse.training_requests
    attempts = max(one.attempts for one in members) + 1
    verb = "was cancelled" if run.status == DagsterRunStatus.CANCELED else "failed"
    outcome = f"run {run.run_id} {verb}"
    if run.status == DagsterRunStatus.CANCELED or attempts >= MOST_ATTEMPTS:
        requests.finish(batch, status="failed", outcome=f"{outcome}, attempt {attempts}")
    else:
        due = now + wait_after(attempts)
        requests.put_back(batch, outcome=f"{outcome}, attempt {attempts}", not_before=due)


def outcome_of(
    instance: DagsterInstance, platform: Platform, stream: Stream, run: DagsterRun
) -> tuple[str, int | None]:
    """Return in words what became of a training run, and the version that came of it."""
    bundles = platform.warehouse.bundles
    # One run of a stream at a time: a version that is younger than the run came of it.
    record = instance.get_run_record_by_id(run.run_id)
    began = None if record is None else record.create_timestamp.replace(tzinfo=UTC)
    made = [
        bundle
        for bundle in bundles.all(stream.name, stream.scored_by)
        if bundle.parameters.get("run_id") == run.run_id
        or ("run_id" not in bundle.parameters and began and bundle.created_at >= began)
    ]
    if not made:
        return "the run ended without a new version", None
    newest = made[0]
    became, reason = f"is {newest.status}", newest.reason
    if newest.status in ("champion", "retired"):
        history = bundles.history(stream.name, stream.scored_by)
        became = "was promoted"
        reason = next((one.reason for one in history if one.version == newest.version), None)
    why = f": {reason}" if reason else ""
    return f"version {newest.version} {became}{why}", newest.version


def training_run(
    platform: Platform, stream: Stream, batch: Sequence[TrainingRequest]
) -> RunRequest:
    """Return the one run that serves a batch of requests."""
    causes = list(dict.fromkeys(one.cause for one in batch))
    reason = reason_of(batch)
    identity = str(batch[0].batch)
    return RunRequest(
        run_key=identity,
        asset_selection=[AssetKey(stream.key(stage)) for stage in stream.model_stages],
        run_config=training_config(platform, stream, batch, reason),
        tags={
            **work_tags(stream.name, WORK, reason[:_LONGEST_TAG]),
            BATCH_TAG: identity,
            CAUSE_TAG: ", ".join(causes),
        },
    )


def reason_of(batch: Sequence[TrainingRequest]) -> str:
    """Say in words why a batch is trained."""
    first = batch[0]
    series = f"{first.entity} {first.metric or ''}".strip() + ": " if first.entity else ""
    more = f" (and {len(batch) - 1} more)" if len(batch) > 1 else ""
    return f"{first.cause}: {series}{first.reason}{more}"


def training_config(
    platform: Platform, stream: Stream, batch: Sequence[TrainingRequest], reason: str
) -> dict[str, Any]:
    """Return the run configuration: the asked series only, or all of them.

    A stream without series is one population and has nothing to choose from.
    """
    config = {
        "series": asked_series(platform, stream, batch) if stream.has_series else [],
        "window_days": batch[0].window_days,
        "cause": batch[0].cause,
        "reason": reason,
    }
    return {
        "ops": {
            "__".join(stream.key(f"{detector}_model")): {"config": config}
            for detector in stream.detectors
        }
    }


def refuse_unknown(platform: Platform, stream: Stream) -> None:
    """End the waiting requests for series that nobody has ever seen, before a run fails on them."""
    waiting = [
        one
        for one in platform.warehouse.training_requests.waiting(stream.name)
        if one.entity is not None
    ]
    if not waiting:
        return
    known = platform.warehouse.series.extents(stream.name).select("entity", "metric").rows()
    series, entities = set(known), {entity for entity, _ in known}
    for one in waiting:
        there = one.entity in entities if one.metric is None else (one.entity, one.metric) in series
        if not there:
            platform.warehouse.training_requests.cancel(
                one.id, f"{one.subject} has no readings that could be trained on"
            )


def asked_series(
    platform: Platform, stream: Stream, batch: Sequence[TrainingRequest]
) -> list[list[str]]:
    """Return the series that a batch is about, sorted; empty when it is about all of them."""
    if any(one.entity is None for one in batch):
        return []
    known = platform.warehouse.series.extents(stream.name).select("entity", "metric").rows()
    whole = {one.entity for one in batch if one.metric is None}
    single = {(one.entity, one.metric) for one in batch}
    asked = [
        [entity, metric]
        for entity, metric in known
        if entity in whole or (entity, metric) in single
    ]
    return [] if len(asked) > MOST_SERIES else asked
