"""Upkeep, once a day: what is wrong with models and their work is told, what is old is removed.

What belongs here: the daily job, its schedule, and the warnings that no other sensor gives.
A warning that is still true on the next day becomes critical. Age is no warning: it makes a
training (``sensors.retraining``).
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from dagster import (
    DefaultScheduleStatus,
    JobDefinition,
    OpExecutionContext,
    ScheduleDefinition,
    job,
    op,
)

from anomaly_platform.assets.metadata import metadata_of
from anomaly_platform.assets.serving_again import put_previous_in_place
from anomaly_platform.assets.stage import as_failures
from anomaly_platform.incidents.alert_log import is_open
from anomaly_platform.labelling.moved_thresholds import move_thresholds
from anomaly_platform.notifications.outbox import Alert, Kind, Severity, fingerprint
from anomaly_platform.platform import Platform
from anomaly_platform.queries.figures import ACCURACY_TARGET
from anomaly_platform.queries.latency import latency_of
from anomaly_platform.runtime.housekeeping import prune
from anomaly_platform.runtime.pruning import total
from anomaly_platform.storage.tables.ml_models import failed_series
from anomaly_platform.streams import Stream
from anomaly_platform.streams.retraining import quality_of

JOB: Final = "upkeep"
#: A warning that has been open for this long is critical: it was there yesterday.
ESCALATES_AFTER: Final = timedelta(hours=20)
#: Share of a usual day's readings under or over which the volume is told.
VOLUME_BOUNDS: Final = (0.5, 2.0)

_NAMED = 10
#: Readings from which on an accuracy measured on a fifth of them tells something.
_TELLING_ROWS: Final = 1_000


def build_upkeep() -> tuple[JobDefinition, ScheduleDefinition]:
    """Return the daily job and its schedule, which runs from the start."""

    @op(required_resource_keys={"platform"})
    def look_after_models(context: OpExecutionContext) -> None:
        platform: Platform = context.resources.platform
        with as_failures():
            told = [
                {"stream": stream.name, **line}
                for stream in platform.streams
                for line in look_after(platform, stream)
            ]
        context.add_output_metadata(metadata_of({"findings": told}))

    @op(required_resource_keys={"platform"})
    def prune_what_is_old(context: OpExecutionContext) -> None:
        platform: Platform = context.resources.platform
        with as_failures():
            pruned = list(
                prune(
                    platform.settings,
                    platform.warehouse.transactions,
                    platform.lake,
                    context.instance,
                    dry_run=False,
                )
            )
        went = [{"what": one.what, "count": one.count, "bytes": one.size} for one in pruned]
        context.add_output_metadata(metadata_of({"pruned": went, "bytes": total(pruned)}))

    @job(
        name=JOB,
        description="Warnings about models and their work, and the removal of what is old.",
    )
    def upkeep() -> None:
        look_after_models()
        prune_what_is_old()

    schedule = ScheduleDefinition(
        name="daily_upkeep",
        job=upkeep,
        cron_schedule="20 3 * * *",
        execution_timezone="UTC",
        default_status=DefaultScheduleStatus.RUNNING,
    )
    return upkeep, schedule


def look_after(platform: Platform, stream: Stream) -> list[dict[str, Any]]:
    """Tell what is wrong with a stream's models, and end what no longer is.

    Returns
    -------
    list of dict
        What was looked at: ``subject``, ``wrong`` and ``finding``.
    """
    lines = []
    for kind, subject, finding, severity in _findings(platform, stream):
        _tell(platform, stream, kind, subject, finding, severity)
        lines.append({"subject": subject, "wrong": finding is not None, "finding": finding or ""})
    if stream.has_series:
        moved = move_thresholds(
            platform.warehouse.transactions,
            platform.warehouse.labels,
            stream.name,
            default=platform.threshold_of(stream),
            alpha=platform.alpha_of(stream),
        )
        lines += [
            {"subject": "threshold", "wrong": False, "finding": f"{m.entity} {m.metric}"}
            for m in moved
        ]
    return lines


Finding = tuple[Kind, str, str | None, Severity]


def _findings(platform: Platform, stream: Stream) -> Iterator[Finding]:
    """Yield kind, subject, what is wrong (None: nothing) and how bad it is on its first day."""
    champion = platform.warehouse.bundles.champion(stream.name, stream.scored_by)
    if champion is None:
        return
    least = platform.settings.min_training_samples
    evidence = platform.warehouse.training_evidence.of(stream, min_training_samples=least)
    wanted = platform.kind(stream).told_quality
    quality = quality_of(evidence)
    poor = quality is not None and quality.balanced_accuracy < wanted
    yield (
        "quality",
        "models",
        f"balanced accuracy {quality.balanced_accuracy:.2f} on {quality.basis}, "
        f"{wanted:.2f} is wanted"
        if quality is not None and poor
        else None,
        "warning",
    )
    yield "quality", "series", _inaccurate(platform, stream), "warning"
    yield "model_disabled", "series", _disabled(platform, stream, champion.version), "critical"
    yield "model_disabled", "bundle", _unloadable(platform, stream, champion.version), "critical"
    newest = _newest_figures(platform, stream)
    latency = newest.get("latency_seconds")
    target = platform.settings.latency_target_seconds
    late = latency is not None and latency > target
    yield (
        "latency",
        "scores",
        f"scores came {latency:.0f} s after their file, {target} s is the target" if late else None,
        "warning",
    )
    table, most = platform.warehouse.prediction_latency, platform.prediction_target_of(stream)
    slow = latency_of(table, stream.name, most).slow
    yield "latency", "predictions", "; ".join(slow) or None, "warning"
    volume = newest.get("volume_ratio")
    odd = volume is not None and not VOLUME_BOUNDS[0] <= volume <= VOLUME_BOUNDS[1]
    yield "drift", "volume", f"{volume:.0%} of a usual day's readings" if odd else None, "warning"
    size = platform.lake.size(f"models/{stream.name}")
    limit = platform.settings.model_storage_limit_mb * 1024 * 1024
    yield (
        "storage",
        "models",
        f"{size:,} bytes of models, {limit:,} is the limit" if size > limit else None,
        "warning",
    )


def _inaccurate(platform: Platform, stream: Stream) -> str | None:
    """Return which models in service are under target: a good mean hides a bad one."""
    rows = platform.warehouse.transactions.tuples(
        "SELECT device_id, metric_name, accuracy FROM ml_models WHERE stream = %s "
        "AND status = 'active' AND accuracy < %s AND training_samples >= %s "
        "ORDER BY accuracy, device_id, metric_name",
        (stream.name, ACCURACY_TARGET, _TELLING_ROWS),
    )
    if not rows:
        return None
    named = ", ".join(f"{entity} {metric} {it:.2f}" for entity, metric, it in rows[:_NAMED])
    more = f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
    return f"accuracy under {ACCURACY_TARGET:.2f} in {len(rows)} of the models: {named}{more}"


def _disabled(platform: Platform, stream: Stream, version: int) -> str | None:
    """Return which series could not be trained: they have no model and the fallback stands in."""
    with platform.warehouse.transactions.begin() as connection:
        rows = failed_series(connection, stream.name, stream.scored_by, version)
    if not rows:
        return None
    named = ", ".join(f"{entity} {metric}" for entity, metric in rows[:_NAMED])
    more = f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
    return f"{len(rows)} series could not be trained: {named}{more}"


def _unloadable(platform: Platform, stream: Stream, version: int) -> str | None:
    """Return why the version in service cannot be loaded, after having put another in its place."""
    kind = platform.kind(stream)
    try:
        kind.verify(version)
    except Exception as error:  # whatever it is, it does not serve
        return put_previous_in_place(platform, stream, version, error)[0]
    return None


def _newest_figures(platform: Platform, stream: Stream) -> dict[str, float]:
    """Return the figures of the newest day that is over."""
    from anomaly_platform.registry.training_evidence import last_complete_day

    newest = platform.warehouse.series.extents(stream.name)["last_event"].max()
    if not isinstance(newest, datetime):
        return {}
    day = last_complete_day(newest.astimezone(UTC))
    return platform.warehouse.monitoring.of_day(stream.name, day)


def _tell(
    platform: Platform,
    stream: Stream,
    kind: Kind,
    subject: str,
    finding: str | None,
    severity: Severity,
) -> None:
    name = fingerprint(kind, stream.name, subject)
    with platform.warehouse.transactions.begin() as connection:
        if finding is None:
            platform.outbox.resolve_alert(connection, name, {"checked": "daily upkeep"})
            return
        details = {"finding": finding}
        if kind == "quality":
            details["advice"] = platform.kind(stream).quality.advice
        second_day = is_open(connection, name, at_least=ESCALATES_AFTER)
        now_severity: Severity = "critical" if second_day else severity
        platform.outbox.raise_alert(
            connection,
            Alert(
                kind=kind,
                fingerprint=name,
                subject=f"{stream.name}/{subject}",
                severity=now_severity,
                title=f"{stream.name}: {finding}",
                stream=stream.name,
                details=details,
                occurrence=f"{datetime.now(UTC):%Y-%m-%d} {now_severity}",
            ),
        )
