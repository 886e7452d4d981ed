"""``/api/v1/ml/devices``: a device at a glance, for dashboards that ask often.

Almost all of it comes from the cache that the workers share (I8); the database is asked for what
is not there.
"""

import datetime as dt
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Path
from pydantic import BaseModel, ValidationError

from anomaly_platform.queries.detections import DetectionFilter, count_detections
from anomaly_platform.queries.models import ModelFilter, list_models
from anomaly_platform.serving.auth.security import Reader
from anomaly_platform.serving.cache import count_key, latest_key, model_key
from anomaly_platform.serving.http.openapi import problems
from anomaly_platform.serving.lookups import known_metrics
from anomaly_platform.serving.schemas.base import Name
from anomaly_platform.serving.schemas.devices import Device, DeviceMetric, ServingModel
from anomaly_platform.serving.schemas.predict import PredictAnswer
from anomaly_platform.serving.state import Serving, ServingState
from anomaly_platform.streams.bindings import DEVICES

router = APIRouter(prefix="/api/v1/ml", tags=["models of devices"])

_DAY = dt.timedelta(days=1)
_MOST_MODELS = 10_000
_MOST_COUNTED = 2**53

Shape = TypeVar("Shape", bound=BaseModel)


@router.get("/devices/{device_id:path}", responses=problems(404))
async def show_device(
    device_id: Annotated[Name, Path()],
    serving: Serving,
    _caller: Reader,
) -> Device:
    """Show a device: its metrics, which model judges each, and the latest predictions."""
    async with serving.pool.connection() as connection:
        metrics = await known_metrics(connection, DEVICES, device_id, None, kind="device")
    names = list(metrics)
    found = await serving.cache.get(
        [
            count_key(device_id),
            *(latest_key(device_id, name) for name in names),
            *(model_key(device_id, name) for name in names),
        ]
    )
    latest, cached = found[1 : 1 + len(names)], found[1 + len(names) :]
    models = await _models(serving, device_id, dict(zip(names, cached, strict=True)))
    return Device(
        device_id=device_id,
        anomalies_24h=await _anomalies(serving, device_id, found[0]),
        metrics=[
            DeviceMetric(
                metric_name=name,
                last_reading=metrics[name],
                model=models[name],
                latest_prediction=_latest(said),
            )
            for name, said in zip(names, latest, strict=True)
        ],
    )


def _latest(cached: Any) -> dict[str, Any] | None:
    """Return a cached prediction, if it is one: others may write to Redis, too."""
    return None if _as(PredictAnswer, cached) is None else dict(cached)


def _as(schema: type[Shape], cached: Any) -> Shape | None:
    try:
        return None if cached is None else schema.model_validate(cached)
    except ValidationError:
        return None


async def _anomalies(serving: ServingState, device_id: str, cached: Any) -> int:
    if type(cached) is int and 0 <= cached < _MOST_COUNTED:
        return cached
    chosen = DetectionFilter(DEVICES, device_id, since=dt.datetime.now(dt.UTC) - _DAY)
    async with serving.pool.connection() as connection:
        count = await count_detections(connection, chosen)
    serving.cache.put(count_key(device_id), count)
    return count


async def _models(
    serving: ServingState, device_id: str, cached: dict[str, Any]
) -> dict[str, ServingModel | None]:
    """Return the model of each metric; what is cached counts only while its version serves."""
    served = serving.models.metrics(DEVICES)
    wanted = {
        name: str(identity)
        for name in cached
        if (identity := served.model_id(device_id, name)) is not None
    }
    known = {
        name: model
        for name, value in cached.items()
        if (model := _as(ServingModel, value)) is not None and str(model.id) == wanted.get(name)
    }
    if set(wanted) - set(known):
        chosen = ModelFilter(DEVICES, device=device_id, status="active")
        async with serving.pool.connection() as connection:
            rows = await list_models(
                connection, chosen, default=served.threshold, after=None, limit=_MOST_MODELS
            )
        for row in rows:
            if wanted.get(row.metric_name) != str(row.id):
                continue
            model = ServingModel.model_validate(row)
            known[row.metric_name] = model
            serving.cache.put(model_key(device_id, row.metric_name), model.model_dump(mode="json"))
    return {name: known.get(name) for name in cached}
