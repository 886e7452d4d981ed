"""``/api/v1/anomaly``: what is unusual in the metrics of an asset."""

import datetime as dt
import json
import math
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from anomaly_platform.queries.scored_readings import (
    ReadingFilter,
    ScoredRow,
    last_hours,
    read_flagged,
    read_page,
)
from anomaly_platform.queries.series import metrics_by_entity
from anomaly_platform.serving import trainings
from anomaly_platform.serving.asked_ems import Outcome, create_events, fetch_missing
from anomaly_platform.serving.auth.rate_limits import Predicting
from anomaly_platform.serving.auth.security import Caller, Reader, Writer
from anomaly_platform.serving.http.cursors import Pages
from anomaly_platform.serving.http.idempotency import Once
from anomaly_platform.serving.http.openapi import accepted, problems
from anomaly_platform.serving.http.strict_query import STRICT_QUERY
from anomaly_platform.serving.lookups import known_metrics
from anomaly_platform.serving.problems import ApiProblem, not_found
from anomaly_platform.serving.schemas.anomalies import (
    DetectAnswer,
    DetectRequest,
    DetectStep,
    EntityVerdict,
    LeftOut,
    Score,
    ScoreList,
)
from anomaly_platform.serving.schemas.base import Cursor, Hours, Name, PageSize
from anomaly_platform.serving.schemas.training import TrainManyAnswer, TrainManyRequest
from anomaly_platform.serving.state import Serving, ServingState
from anomaly_platform.serving.trainings import Wait
from anomaly_platform.streams.bindings import ASSETS

router = APIRouter(
    prefix="/api/v1/anomaly", tags=["anomalies of assets"], dependencies=[STRICT_QUERY]
)

_PAGES = Pages("scores", str, str, dt.datetime, dt.datetime, dt.datetime, str)
_MOST_SHOWN = 1_000
_MOST_TRAININGS = 1_000
_STEPS: tuple[DetectStep, ...] = ("fetching", "storing", "events")


@router.post("/detect", responses=problems(404))
async def detect(
    request: Request,
    asked: DetectRequest,
    serving: Serving,
    caller: Reader,
    _counted: Predicting = None,
) -> DetectAnswer:
    """Look through the last hours of an asset for anomalies, and say how it is as a whole.

    Where an EMS is set, what is missing here is fetched from it first, stored and scored, and
    anomalies become events there. That needs `ml:write` beside `ml:read`; `left_out` says what was
    not done and why.
    """
    asset, metric = asked.asset_id, asked.metric_name
    refused = _without_ems(serving, caller)
    left_out = [LeftOut(step=step, reason=refused) for step in _STEPS if refused]
    fetched = events = Outcome()
    if not refused:
        fetched = await fetch_missing(serving, asset, metric, asked.hours)
    async with serving.pool.connection() as connection:
        try:
            metrics = await known_metrics(connection, ASSETS, asset, metric, kind="asset")
        except ApiProblem as problem:
            why = refused or fetched.left_out
            if why is None or not serving.settings.has_ems:
                raise
            # What the EMS has of it may only not have come.
            detail = f"{problem.detail}, and nothing came from the EMS: {why}"
            raise ApiProblem(problem.status, detail) from None
        chosen = ReadingFilter(ASSETS, asset, metric, *last_hours(metrics, asked.hours))
        found, summary = await read_flagged(
            connection, chosen, threshold=asked.threshold, limit=_MOST_SHOWN
        )
    if not refused and serving.settings.auto_create_alerts:
        events = await create_events(serving, found, asked.threshold)
    elif refused:
        # What waits for the EMS says nothing about how fast this service is.
        request.scope["state"]["judged"] = ASSETS
    else:
        events = Outcome(left_out="ANOMALY_AUTO_CREATE_ALERTS is false")
    left_out += [
        LeftOut(step=step, reason=one.left_out)
        for step, one in (("fetching", fetched), ("events", events))
        if one.left_out is not None
    ]
    return DetectAnswer(
        asset_id=asset,
        metric_name=metric,
        window_start=chosen.since,
        window_end=chosen.until,
        threshold=asked.threshold,
        anomalies=[_score(row, asked.threshold) for row in found],
        anomaly_count=summary.anomalies,
        readings=summary.readings,
        undecided=summary.undecided,
        highest_score=summary.highest_score,
        entity=EntityVerdict(score=summary.entity_score, is_anomaly=summary.entity_is_anomaly),
        stored=fetched.done,
        refused=fetched.refused,
        events_created=events.done,
        left_out=left_out,
    )


def _without_ems(serving: ServingState, caller: Caller) -> str | None:
    """Return why the EMS has no part in a detection, None where it has."""
    if not serving.settings.has_ems:
        return "no EMS is set: ANOMALY_EMS_CORE_URL or ANOMALY_EMS_DATABASE_URL"
    if "ml:write" not in caller.scopes:
        return "the key has no scope ml:write"
    return None


@router.get("/scores/{asset_id:path}", responses=problems(404))
async def list_scores(
    asset_id: Annotated[Name, Path()],
    serving: Serving,
    _caller: Reader,
    hours: Annotated[Hours, Query()] = 24.0,
    metric_name: Annotated[Name | None, Query()] = None,
    limit: PageSize = 1_000,
    cursor: Cursor = None,
) -> ScoreList:
    """List the scores of an asset's readings in the last hours, the newest first."""
    async with serving.pool.connection() as connection:
        metrics = await known_metrics(connection, ASSETS, asset_id, metric_name, kind="asset")
        window, after = last_hours(metrics, hours), None
        if cursor:
            window, after = _continued(cursor, asset_id, metric_name, hours)
        chosen = ReadingFilter(ASSETS, asset_id, metric_name, *window)
        found = await read_page(connection, chosen, after=after, limit=limit + 1)
    asked = (asset_id, metric_name or "", *window)
    page, following = _PAGES.cut(found, limit, lambda last: (*asked, last.event_time, last.metric))
    return ScoreList(
        asset_id=asset_id,
        window_start=chosen.since,
        window_end=chosen.until,
        scores=[_score(row) for row in page],
        next_cursor=following,
    )


def _continued(
    cursor: str, asset: str, metric: str | None, hours: float
) -> tuple[tuple[dt.datetime, dt.datetime], tuple[dt.datetime, str]]:
    """Return the window of the first page, so that readings that arrive meanwhile shift nothing.

    With it, the sort key behind which the page begins.

    Raises
    ------
    ApiProblem
        422, when the page before was of something else.
    """
    *asked, since, until, last, name = _PAGES.read(cursor)
    # As a difference: a time near the first year has none so long before it.
    if asked != [asset, metric or ""] or until - since != dt.timedelta(hours=hours):
        raise ApiProblem(
            422,
            "cursor: it belongs to another asset, metric or window; send it with the parameters "
            "of the page that it came with",
        )
    return (since, until), (last, name)


@router.post(
    "/train",
    response_model=TrainManyAnswer,
    responses={**accepted(TrainManyAnswer), **problems(404, 409)},
)
async def train(
    asked: TrainManyRequest, serving: Serving, caller: Writer, once: Once, wait: Wait
) -> Response | TrainManyAnswer:
    """Train models of assets: of some or all of their metrics, or of everything.

    Answers 202 with where to ask again, or, with `Prefer: wait=N`, what came of them. When no
    series that is named has readings enough, it is refused at once (409).
    """
    series = await _series(serving, asked)
    days = None if asked.hours is None else math.ceil(asked.hours / 24)
    named = [(entity, metric) for entity, metric in series if entity is not None]
    await trainings.refuse_without_rows(serving, ASSETS)
    await trainings.refuse_too_few(serving, ASSETS, named, days)
    found = await trainings.ask_and_wait(
        serving, once, ASSETS, series, window_days=days, actor=caller.actor, wait=wait
    )
    ended = [one for one in found if not trainings.goes_on(one)]
    answer = TrainManyAnswer(
        requests=[trainings.requested(one) for one in found],
        trainings=[await trainings.described(serving, one) for one in ended],
    )
    return answer if len(ended) == len(found) else trainings.accepted_answer(answer, found[0])


async def _series(
    serving: ServingState, asked: TrainManyRequest
) -> list[tuple[str | None, str | None]]:
    """Return asset and metric of each training; None means all.

    Raises
    ------
    ApiProblem
        404, when an asset or metric is unknown; 422, when they are too many.
    """
    if asked.asset_ids is None and asked.metric_names is None:
        return [(None, None)]
    async with serving.pool.connection() as connection:
        known = await metrics_by_entity(connection, ASSETS, asked.asset_ids)
    for asset in asked.asset_ids or ():
        if asset not in known:
            raise not_found(f"asset {asset!r}")
    for metric in asked.metric_names or ():
        if not any(metric in metrics for metrics in known.values()):
            raise not_found(f"metric {metric!r} of these assets")
    if asked.metric_names is None:
        return [(asset, None) for asset in dict.fromkeys(asked.asset_ids or ())]
    wanted = dict.fromkeys(asked.metric_names)
    found = [(asset, m) for asset, metrics in known.items() for m in wanted if m in metrics]
    if len(found) > _MOST_TRAININGS:
        raise ApiProblem(
            422,
            f"that would be {len(found)} trainings, {_MOST_TRAININGS} are the most: name fewer "
            "assets, or leave metric_names out",
        )
    return [*found]


def _score(row: ScoredRow, threshold: float | None = None) -> Score:
    """Return a scored reading as the API shows it, judged anew where a threshold is given."""
    is_anomaly = row.is_anomaly
    if threshold is not None and row.score is not None:
        is_anomaly = row.score >= threshold
    metadata = {
        "status": row.status,
        "pValue": row.p_value,
        "entityScore": row.entity_score,
        "entityIsAnomaly": row.entity_is_anomaly,
        "causes": None if row.causes is None else json.loads(row.causes),
        "reason": row.reason,
        "expectedLow": row.expected_low,
        "expectedHigh": row.expected_high,
        "deviation": row.deviation,
        "direction": row.direction,
        "lasting": row.lasting,
        "lastedSeconds": row.lasted_s,
        "explanation": row.explanation,
        "detector": row.detector,
        "bundleVersion": row.bundle_version,
        "provisional": row.provisional,
    }
    return Score(
        id=row.event_id,
        assetId=row.entity,
        metricName=row.metric,
        value=row.value,
        score=row.score,
        isAnomaly=is_anomaly,
        threshold=row.threshold if threshold is None else threshold,
        timestamp=row.event_time,
        metadata=metadata,
    )
