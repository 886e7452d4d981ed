"""New data: from a file in landing to the run that ingests it, and on to the daily stages.

One sensor per stream, since each tick costs the daemon a row in Dagster's tables. It sees files
settle, and readings taken one by one wait, and asks for ``raw_events``; else for whatever is out of
date (see ``streams.staleness``). It remembers nothing but which files were still growing, so that a
killed daemon, a failed run or a tick that happens twice neither loses nor repeats work.
"""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

from dagster import (
    AssetKey,
    AssetSelection,
    RunConfig,
    RunRequest,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
)

from anomaly_platform.assets.partitions import contiguous_spans, range_tags, tagged_days
from anomaly_platform.assets.raw import RawEventsConfig
from anomaly_platform.platform import Platform
from anomaly_platform.runtime.warm_runs import warm_up
from anomaly_platform.sensors.names import DATA_SENSOR_SUFFIX
from anomaly_platform.sensors.work import reason_to_wait, recent_work, watching, work_tags
from anomaly_platform.storage.lake.landing import LandedFile, Sighting, settle
from anomaly_platform.streams import Stream
from anomaly_platform.streams.staleness import (
    StreamState,
    needs_first_model,
    stale_feature_days,
    stale_scored_days,
)

DATA_STAGES = ("validated_events", "quarantine", "features")
SCORE_STAGES = ("scored_events", "monitoring_stats")

#: Where the daemon watches the folder it ticks at once (`cli.services.awakening`).
_TICK_SECONDS, _WATCHED_TICK_SECONDS = 5, 10
_UP_TO_DATE = "everything is up to date"
_MOST_SPANS_A_TICK = 10
_MANY_READINGS = 50_000
_FEW_DAYS = 3


def build_landing_sensors(
    stream: Stream, first_day: date = date.min, *, watched: bool = False
) -> list[SensorDefinition]:
    """Return the stream's sensor, running from the start.

    `first_day` is the one on which the partitions of these definitions begin. Where landing is
    `watched`, the daemon ticks at once when a file arrives, and seldom otherwise.
    """
    stages = ("raw_events", *DATA_STAGES, *stream.model_stages, *SCORE_STAGES)
    every_s = _WATCHED_TICK_SECONDS if watched else _TICK_SECONDS

    @watching(
        name=f"{stream.name}{DATA_SENSOR_SUFFIX}",
        description=(
            f"Ingests files once their size holds still in landing/{stream.name}, and readings "
            "that the service has taken one by one. Brings the daily stages up to their newest "
            "input, late data's days included; trains the first model once there is enough history."
        ),
        target=AssetSelection.assets(*(stream.key(stage) for stage in stages)),
        minimum_interval_seconds=every_s,
    )
    def _sensor(context: SensorEvaluationContext) -> SensorResult | SkipReason:
        platform: Platform = context.resources.platform
        now = datetime.now(UTC)
        if _rests(platform, stream, now):
            context.update_cursor("{}")
            return SkipReason(f"no new files; {_UP_TO_DATE}")
        ingest = reason_to_wait(recent_work(context.instance, stream.name, "ingest"), now)
        platform.landing.folder(stream.name)  # for people to drop files into
        seen, waiting = _seen_before(context.cursor), platform.landing.waiting(stream.name)
        ready, now_seen = settle(seen, waiting, now.timestamp())
        if now_seen != seen:
            # Something has come: a run is near.
            warm_up()
        context.update_cursor(json.dumps(now_seen))
        what = [f"{len(ready)} new files"] * bool(ready)
        what += filter(None, [online_batch_due(platform, stream, now)])
        if what and ingest is None:
            return SensorResult(run_requests=[_ingestion(stream, ready, " and ".join(what))])
        if ingest is not None and ingest.endswith("under way"):
            return SkipReason(ingest)
        waits = reason_to_wait(recent_work(context.instance, stream.name, "refresh"), now)
        found = waits or _due_now(platform, stream, first_day)
        if not isinstance(found, str):
            return SensorResult(run_requests=found)
        settling = f"{len(now_seen)} files are still being written" if now_seen else "no new files"
        return SkipReason(f"{ingest if what else settling}; {found}")

    return [_sensor]


def _rests(platform: Platform, stream: Stream, now: datetime) -> bool:
    """Return whether there is nothing to do, which costs Dagster's tables no question.

    What runs is asked of them before anything that a run could change is looked at again.
    """
    return not (
        platform.landing.waiting(stream.name)
        or online_batch_due(platform, stream, now)
        or any(due_runs(stream, platform.state_of(stream)))
    )


def _seen_before(cursor: str | None) -> dict[str, Sighting]:
    """Return what the last tick saw; nothing where an older version has written the cursor."""
    seen = json.loads(cursor) if cursor else {}
    return {name: (one[0], one[1]) for name, one in seen.items() if isinstance(one, list)}


def _ingestion(stream: Stream, ready: list[LandedFile], what: str) -> RunRequest:
    op = "__".join(stream.key("raw_events"))
    config = RunConfig(ops={op: RawEventsConfig(files=[file.name for file in ready])})
    return RunRequest(
        asset_selection=[AssetKey(stream.key("raw_events"))],
        run_config=config,
        tags=work_tags(stream.name, "ingest", what),
    )


def _due_now(platform: Platform, stream: Stream, first_day: date) -> list[RunRequest] | str:
    """Return the runs that bring the stream up to date, or why there are none."""
    requests = list(due_runs(stream, platform.state_of(stream)))
    if not requests:
        return _UP_TO_DATE
    oldest = min((day for one in requests for day in tagged_days(one.tags)), default=first_day)
    if oldest < first_day:
        # A run of a day that is no partition here would fail, and this tick with it.
        return (
            f"there are data of {oldest}, before the first partition {first_day}: "
            "they wait until the code location is loaded anew, which moves it back"
        )
    return requests[:_MOST_SPANS_A_TICK]


def online_batch_due(platform: Platform, stream: Stream, now: datetime) -> str:
    """Say why readings taken one by one are due for a batch; empty while they can wait.

    A run for every reading would be nothing but runs: they wait until the oldest has waited long
    enough, or until there are many.
    """
    waiting = platform.warehouse.online.waiting(stream.name, limit=_MANY_READINGS)
    if waiting.oldest is None:
        return ""
    patience = timedelta(seconds=platform.settings.online_batch_seconds)
    if waiting.rows < _MANY_READINGS and now - waiting.oldest < patience:
        return ""
    more = "or more " if waiting.rows == _MANY_READINGS else ""
    return f"{waiting.rows} {more}readings taken one by one"


def due_runs(stream: Stream, state: StreamState) -> Iterator[RunRequest]:
    """Yield the runs that bring a stream up to date, one per contiguous span of days.

    Features come before the first model, the first model before the scores: a model trained on
    the first of several spans would know nothing of the others. A few days are scored at once, by
    the rules and statistics that need no model: their history is short, and somebody waits.
    """
    lookback = stream.lookback_days
    stale_features = stale_feature_days(state, lookback)
    if stale_features:
        with_scores = state.champion is not None or len(stale_features) <= _FEW_DAYS
        stages = (*DATA_STAGES, *SCORE_STAGES) if with_scores else DATA_STAGES
        yield from _spans(stream, stale_features, stages, "new data")
    elif needs_first_model(state, lookback):
        yield RunRequest(
            asset_selection=[AssetKey(stream.key(stage)) for stage in stream.model_stages],
            tags=work_tags(stream.name, "refresh", "no model serves yet and history is ready"),
        )
    else:
        stale = stale_scored_days(state, lookback)
        yield from _spans(stream, stale, SCORE_STAGES, "scores lag behind features or champion")


def _spans(
    stream: Stream, days: list[date], stages: tuple[str, ...], reason: str
) -> Iterator[RunRequest]:
    for first, last in contiguous_spans(days):
        yield RunRequest(
            asset_selection=[AssetKey(stream.key(stage)) for stage in stages],
            tags={
                **work_tags(stream.name, "refresh", reason),
                **range_tags(first, last),
            },
        )
