"""``POST /api/v1/telemetry``: readings in, stored and judged when the answer comes.

The body is parsed once, by its schema, and the answer written once: thousands of readings a second
pass here.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import APIRouter, Depends, Request, Response
from pydantic import ValidationError

from anomaly_platform.ingest.online_readings import Reading, Refusal
from anomaly_platform.resources.online_work import OTHER_READING
from anomaly_platform.serving.direct import Direct, JsonAnswer, read_body
from anomaly_platform.serving.openapi import problems
from anomaly_platform.serving.problems import ApiProblem, invalid, not_found
from anomaly_platform.serving.schemas.telemetry import (
    STREAM_BODY,
    TELEMETRY_BODY,
    TelemetryAnswer,
    adapters_of,
    external_names,
)
from anomaly_platform.serving.security import Caller, require
from anomaly_platform.serving.telemetry_metrics import count_scored
from anomaly_platform.streams import MetricStream

if TYPE_CHECKING:
    from anomaly_platform.resources.online_ingest import Answer
    from anomaly_platform.serving.state import ServingState

DEVICES: Final = "iiot"
_WRITER: Final = require("ml:write")

router = APIRouter(prefix="/api/v1", tags=["telemetry"])

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND: Final = dt.timedelta(microseconds=1)
_NOTHING: Final[dict[str, Any]] = dict.fromkeys(
    (
        "event_id",
        "timestamp",
        "is_anomaly",
        "score",
        "threshold",
        "series_status",
        "provisional",
        "model_version",
    )
)


@router.post(
    "/telemetry",
    response_model=TelemetryAnswer,
    openapi_extra=TELEMETRY_BODY,
    responses=problems(400, 409),
)
async def send_telemetry(
    request: Request, _caller: Annotated[Caller, Depends(require("ml:write"))]
) -> Response:
    """Store and judge one reading of a device, or up to 10,000.

    A reading that cannot be used is refused by itself, with the member at fault; the others are
    stored. When none can be kept the answer is 422, or 409 where all contradict what is known.
    """
    return await _take(request, DEVICES)


@router.post(
    "/streams/{stream}/telemetry",
    response_model=TelemetryAnswer,
    openapi_extra=STREAM_BODY,
    responses=problems(400, 404, 409),
)
async def send_stream_telemetry(
    stream: str, request: Request, _caller: Annotated[Caller, Depends(require("ml:write"))]
) -> Response:
    """Store and judge readings of any metric stream, under its own names of the members."""
    return await _take(request, stream)


async def _take(request: Request, name: str) -> Response:
    serving: ServingState = request.app.state.serving
    stream = serving.models.streams.get(name)
    if not isinstance(stream, MetricStream):
        known = [one.name for one in serving.models.streams.values() if _is_metric(one)]
        raise not_found(f"stream {name!r} of readings; there are {', '.join(known)}")
    rules = serving.platform.reading_rules(stream)
    checked = rules.check(await _parsed(request, stream), dt.datetime.now(dt.UTC))
    good = [one for one in checked if isinstance(one, Reading)]
    answers = await serving.ingestion.ingest(stream, good, source="api")
    verdicts = _verdicts(stream, checked, answers)
    kept = [one for one in answers if one.outcome != "conflict"]
    stored = [one.reading for one in kept if one.outcome == "stored" and one.reading is not None]
    serving.look_backs.forget(
        serving.models.metrics(stream.name), {(one.entity, one.metric) for one in stored}
    )
    count_scored(stream.name, len(stored), sum(one.is_anomaly is True for one in stored))
    if not kept:
        raise _nothing_kept(verdicts)
    content = {
        "accepted": len(kept),
        "refused": len(verdicts) - len(kept),
        "anomalies": sum(
            one.reading is not None and one.reading.is_anomaly is True for one in kept
        ),
        "readings": verdicts,
    }
    return JsonAnswer(content)


async def _send_directly(request: Request) -> Response:
    await _WRITER(request)
    return await _take(request, DEVICES)


DIRECT: Final = Direct("/api/v1/telemetry", _send_directly)
"""The first of these routes, for requests that come without the framework's detours."""


async def _parsed(request: Request, stream: MetricStream) -> Sequence[Any]:
    if not request.headers.get("content-type", "application/json").startswith("application/json"):
        raise ApiProblem(422, "body: send JSON, with Content-Type: application/json")
    body = await read_body(request)
    one, many = adapters_of(stream)
    try:
        if body.lstrip(b" \t\r\n").startswith(b"["):
            readings: Sequence[Any] = many.validate_json(body)
            return readings
        return [one.validate_json(body)]
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        raise invalid([{**each, "loc": ("body", *each["loc"])} for each in found]) from None


def _is_metric(stream: object) -> bool:
    return isinstance(stream, MetricStream)


def _verdicts(
    stream: MetricStream, checked: Sequence[Reading | Refusal], answers: Sequence[Answer]
) -> list[dict[str, Any]]:
    names = external_names(stream)
    said = iter(answers)
    times: dict[int, str] = {}
    return [
        _verdict(next(said), names, times)
        if isinstance(one, Reading)
        else {
            "status": "refused",
            **_NOTHING,
            "error": {"field": names[one.field], "reason": one.reason},
        }
        for one in checked
    ]


def _verdict(answer: Answer, names: Mapping[str, str], times: dict[int, str]) -> dict[str, Any]:
    """Return what is said of a reading; `times` are those written so far."""
    error = None
    if answer.reason:
        at_fault = "event_id" if answer.reason == OTHER_READING else "value"
        error = {"field": names[at_fault], "reason": answer.reason}
    kept = answer.reading
    if kept is None:
        return {"status": answer.outcome, **_NOTHING, "error": error}
    when = times.get(kept.event_time)
    if when is None:
        when = times[kept.event_time] = (_EPOCH + kept.event_time * _MICROSECOND).isoformat()
    return {
        "status": answer.outcome,
        "event_id": kept.event_id,
        "timestamp": when,
        "is_anomaly": kept.is_anomaly,
        "score": kept.score,
        "threshold": kept.threshold,
        "series_status": kept.status,
        "provisional": kept.provisional,
        "model_version": kept.bundle_version,
        "error": error,
    }


def _nothing_kept(verdicts: Sequence[dict[str, Any]]) -> ApiProblem:
    """Return the problem of a request of which nothing is kept."""
    refused = [one for one in verdicts if one["status"] == "refused"]
    many = len(verdicts) > 1
    problems_found = [
        {
            "location": (f"body.{place}" if many else "body")
            + (f".{error['field']}" if error["field"] else ""),
            "message": error["reason"],
        }
        for place, one in enumerate(verdicts)
        if (error := one["error"])
    ]
    first = problems_found[0]
    more = f" and {len(problems_found) - 1} more" if len(problems_found) > 1 else ""
    return ApiProblem(
        422 if refused else 409,
        f"no reading was kept: {first['location']}: {first['message']}{more}",
        errors=problems_found[:20],
    )
