"""New data: from a file in landing to the run that ingests it, and on to the daily stages.

Two sensors per stream. The first sees files settle, and readings taken one by one wait, and asks
for ``raw_events``. The second asks
for whatever is out of date after that (see ``streams.staleness``): it remembers nothing, so that
a killed daemon, a failed run or a tick that happens twice neither loses nor repeats work.
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
from anomaly_platform.sensors.work import reason_to_wait, recent_work, watching, work_tags
from anomaly_platform.storage.lake.landing import settle
from anomaly_platform.streams import Stream
from anomaly_platform.streams.staleness import (
    StreamState,
    needs_first_model,
    stale_feature_days,
    stale_scored_days,
)

DATA_STAGES = ("validated_events", "quarantine", "features")
SCORE_STAGES = ("scored_events", "monitoring_stats")

_TICK_SECONDS = 5
_MOST_SPANS_A_TICK = 10
_MANY_READINGS = 50_000


def build_landing_sensors(stream: Stream, first_day: date = date.min) -> list[SensorDefinition]:
    """Return the stream's two sensors, both running from the start.

    `first_day` is the one on which the partitions of these definitions begin.
    """
    return [_new_files(stream), _out_of_date(stream, first_day)]


def _new_files(stream: Stream) -> SensorDefinition:
    @watching(
        name=f"{stream.name}_new_files",
        description=(
            f"Ingests files once their size holds still in landing/{stream.name}, and readings "
            "that the service has taken one by one."
        ),
        target=AssetSelection.assets(stream.key("raw_events")),
        minimum_interval_seconds=_TICK_SECONDS,
    )
    def _sensor(context: SensorEvaluationContext) -> SensorResult | SkipReason:
        platform: Platform = context.resources.platform
        seen: dict[str, str] = json.loads(context.cursor) if context.cursor else {}
        ready, now_seen = settle(seen, platform.landing.waiting(stream.name))
        context.update_cursor(json.dumps(now_seen))
        online = online_batch_due(platform, stream, datetime.now(UTC))
        if not ready and not online:
            return SkipReason(
                f"{len(now_seen)} files are still being written" if now_seen else "nothing new"
            )
        wait = reason_to_wait(
            recent_work(context.instance, stream.name, "ingest"), datetime.now(UTC)
        )
        if wait:
            return SkipReason(wait)
        config = RunConfig(
            ops={
                "__".join(stream.key("raw_events")): RawEventsConfig(files=[f.name for f in ready])
            }
        )
        what = [f"{len(ready)} new files"] * bool(ready) + [online] * bool(online)
        tags = work_tags(stream.name, "ingest", " and ".join(what))
        return SensorResult(run_requests=[RunRequest(run_config=config, tags=tags)])

    return _sensor


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


def _out_of_date(stream: Stream, first_day: date) -> SensorDefinition:
    stages = (*DATA_STAGES, *stream.model_stages, *SCORE_STAGES)

    @watching(
        name=f"{stream.name}_out_of_date",
        description=(
            "Brings the daily stages up to their newest input, late data's days included; "
            "trains the first model once there is enough history."
        ),
        target=AssetSelection.assets(*(stream.key(stage) for stage in stages)),
        minimum_interval_seconds=_TICK_SECONDS,
    )
    def _sensor(context: SensorEvaluationContext) -> SensorResult | SkipReason:
        platform: Platform = context.resources.platform
        for work in ("ingest", "refresh"):
            wait = reason_to_wait(
                recent_work(context.instance, stream.name, work), datetime.now(UTC)
            )
            if wait and (work == "refresh" or wait.endswith("under way")):
                return SkipReason(wait)
        requests = list(due_runs(stream, platform.state_of(stream)))
        if not requests:
            return SkipReason("everything is up to date")
        oldest = min((day for one in requests for day in tagged_days(one.tags)), default=first_day)
        if oldest < first_day:
            # A run of a day that is no partition here would fail, and this tick with it.
            return SkipReason(
                f"there are data of {oldest}, before the first partition {first_day}: "
                "they wait until the code location is loaded anew, which moves it back"
            )
        return SensorResult(run_requests=requests[:_MOST_SPANS_A_TICK])

    return _sensor


def due_runs(stream: Stream, state: StreamState) -> Iterator[RunRequest]:
    """Yield the runs that bring a stream up to date, one per contiguous span of days.

    Features come before the first model, the first model before the scores: a model trained on
    the first of several spans would know nothing of the others.
    """
    lookback = stream.lookback_days
    stale_features = stale_feature_days(state, lookback)
    if stale_features:
        with_scores = state.champion is not None
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
