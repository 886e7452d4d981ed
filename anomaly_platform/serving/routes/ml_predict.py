"""``/api/v1/ml/predict``: verdicts on readings that are not stored.

The busiest routes: the body is parsed once, by its schema, and the answer is written once. FastAPI
would do both a second time to be safe, which here a test is.
"""

import asyncio
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from pydantic import TypeAdapter

from anomaly_platform.ml.times import microseconds_of, time_of
from anomaly_platform.serving.auth.rate_limits import Predicting, count_prediction
from anomaly_platform.serving.auth.security import Reader, Require
from anomaly_platform.serving.cache import latest_key
from anomaly_platform.serving.champions.served import ServedMetrics
from anomaly_platform.serving.http.direct import Direct, JsonAnswer, parsed
from anomaly_platform.serving.http.openapi import body_of, problems
from anomaly_platform.serving.metrics.requests import count_scored
from anomaly_platform.serving.predict.readings import Judgement, judge_many, judge_one, look_back_of
from anomaly_platform.serving.predict.scales import prediction, signed_score
from anomaly_platform.serving.schemas.predict import (
    PredictAnswer,
    PredictBatchAnswer,
    PredictBatchRequest,
    PredictRequest,
)
from anomaly_platform.serving.state import ServingState
from anomaly_platform.streams.bindings import DEVICES

router = APIRouter(prefix="/api/v1/ml", tags=["predictions"])

_ONE = TypeAdapter(PredictRequest)
_MANY = TypeAdapter(PredictBatchRequest)
_READER: Final = Require("ml:read")
#: Values up to which judging takes less time than handing it to a thread.
_MOST_INLINE = 32


@router.post(
    "/predict",
    response_model=PredictAnswer,
    openapi_extra=body_of(PredictRequest),
    responses=problems(404),
)
async def predict(
    request: Request,
    _caller: Reader,
    _counted: Predicting = None,
) -> Response:
    """Judge one reading of a device as ingest would, without storing it."""
    return await _predict(request)


@router.post(
    "/predict/batch",
    response_model=PredictBatchAnswer,
    openapi_extra=body_of(PredictBatchRequest),
    responses=problems(404),
)
async def predict_batch(
    request: Request,
    _caller: Reader,
    _counted: Predicting = None,
) -> Response:
    """Judge up to 1,000 readings of one device and metric, without storing them."""
    asked = await parsed(request, _MANY)
    serving: ServingState = request.app.state.serving
    served = serving.models.metrics(DEVICES)
    key = (asked.device_id, asked.metric_name)
    look_back = await look_back_of(serving, served, *key)
    given = asked.timestamps
    times = None if given is None else [microseconds_of(time) for time in given]
    if len(asked.values) <= _MOST_INLINE:
        found = judge_many(serving, served, look_back, key, asked.values, times)
    else:
        # A copy: the thread must not share the room in which this thread lays readings.
        own = look_back.copy()
        found = await asyncio.to_thread(judge_many, serving, served, own, key, asked.values, times)
    answer = {
        **_about(served, key),
        "predictions": [_verdict(one, {}) for one in found],
        "anomaly_count": sum(one.is_anomaly is True for one in found),
    }
    _account(request, key, found, _verdict(found[-1], _about(served, key)))
    return JsonAnswer(answer)


async def _predict(request: Request) -> Response:
    asked = await parsed(request, _ONE)
    serving: ServingState = request.app.state.serving
    served = serving.models.metrics(DEVICES)
    key = (asked.device_id, asked.metric_name)
    look_back = await look_back_of(serving, served, *key)
    when = None if asked.timestamp is None else microseconds_of(asked.timestamp)
    found = judge_one(serving, served, look_back, key, asked.value, when)
    answer = _verdict(found, _about(served, key))
    _account(request, key, [found], answer)
    return JsonAnswer(answer)


async def _predict_directly(request: Request) -> Response:
    _READER.of(request.scope)
    await count_prediction(request)
    return await _predict(request)


DIRECT: Final = Direct("/api/v1/ml/predict", _predict_directly)
"""The first of these routes, for requests that come without the framework's detours."""


def _account(
    request: Request, key: tuple[str, str], found: list[Judgement], latest: dict[str, Any]
) -> None:
    """Count what was judged, and share the latest verdict."""
    serving: ServingState = request.app.state.serving
    count_scored(DEVICES, len(found), [one.is_anomaly for one in found].count(True))
    serving.cache.put(latest_key(*key), latest)
    request.scope["state"]["judged"] = DEVICES


def _about(served: ServedMetrics, key: tuple[str, str]) -> dict[str, Any]:
    known = served.series.get(key)
    return {
        "device_id": key[0],
        "metric_name": key[1],
        "model_id": None if known is None else known.model_id,
        "model_version": served.version,
    }


def _verdict(found: Judgement, about: dict[str, Any]) -> dict[str, Any]:
    """Return what a reading is, behind what the answer is about."""
    signed = None if found.score is None else signed_score(found.score, found.threshold)
    return {
        **about,
        "value": found.value,
        "timestamp": time_of(found.when).isoformat(),
        "is_anomaly": found.is_anomaly,
        "is_call": found.is_call,
        "score": signed,
        "confidence": None if signed is None else abs(signed),
        "prediction": prediction(found.is_anomaly),
        "unit_score": found.score,
        "threshold": found.threshold,
        "status": found.status,
        "reason": found.reason,
        "explanation": None if found.explanation is None else found.explanation.plain(),
    }
