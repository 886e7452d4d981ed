"""``/api/v1/ml/models``: the models of devices, one by one."""

import asyncio
import math
import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Query

from anomaly_platform.queries.latency import latency_of
from anomaly_platform.queries.models import (
    ModelFilter,
    ModelStatus,
    count_models,
    list_models,
    read_confirmation,
)
from anomaly_platform.serving.auth.security import Admin, Reader, Writer
from anomaly_platform.serving.http.cursors import Pages
from anomaly_platform.serving.http.idempotency import Once
from anomaly_platform.serving.http.openapi import problems
from anomaly_platform.serving.http.strict_query import STRICT_QUERY
from anomaly_platform.serving.lookups import existing_model, refuse_unknown
from anomaly_platform.serving.schemas.base import Cursor, Name, PageSize
from anomaly_platform.serving.schemas.models import (
    DeleteAnswer,
    Model,
    ModelList,
    Performance,
    ThresholdAnswer,
    ThresholdCleared,
    ThresholdRequest,
)
from anomaly_platform.serving.state import Serving
from anomaly_platform.storage.postgres.transactions import Connection
from anomaly_platform.storage.tables import audit
from anomaly_platform.storage.tables.ml_models import mark_deleted
from anomaly_platform.streams.bindings import DEVICES

router = APIRouter(prefix="/api/v1/ml", tags=["models of devices"], dependencies=[STRICT_QUERY])

_PAGES = Pages("models", str, str, str, int)


@router.get("/models", responses=problems(404))
async def list_all(
    serving: Serving,
    _caller: Reader,
    device_id: Annotated[Name | None, Query()] = None,
    metric_name: Annotated[Name | None, Query()] = None,
    status: Annotated[ModelStatus | None, Query(description="Any but deleted by default.")] = None,
    limit: PageSize = 100,
    cursor: Cursor = None,
) -> ModelList:
    """List models by device, metric and version."""
    after = _PAGES.after(cursor)
    chosen = ModelFilter(DEVICES, device_id, metric_name, status)
    default = serving.models.metrics(DEVICES).threshold
    async with serving.pool.connection() as connection:
        found = await list_models(connection, chosen, default=default, after=after, limit=limit + 1)
        total, active = await count_models(connection, chosen)
        if not total:
            await refuse_unknown(connection, DEVICES, device_id, metric_name, kind="device")
    page, following = _PAGES.cut(
        found,
        limit,
        lambda last: (last.device_id, last.metric_name, last.model_type, last.model_version),
    )
    models = [Model.model_validate(one) for one in page]
    return ModelList(models=models, total=total, active_count=active, next_cursor=following)


@router.get("/models/{model_id}", responses=problems(404))
async def show_model(model_id: uuid.UUID, serving: Serving, _caller: Reader) -> Model:
    """Return one model."""
    return Model.model_validate(await existing_model(serving, model_id))


@router.get("/models/{model_id}/performance", responses=problems(404))
async def show_performance(model_id: uuid.UUID, serving: Serving, _caller: Reader) -> Performance:
    """Return how well a model does: on held-out data, and by what people say of its detections."""
    model = await existing_model(serving, model_id)
    async with serving.pool.connection() as connection:
        said = await read_confirmation(connection, model_id)
    table = serving.platform.warehouse.prediction_latency
    latency = await asyncio.to_thread(latency_of, table, DEVICES, math.inf)
    return Performance(
        model_id=model.id,
        accuracy=model.accuracy,
        false_positive_rate=model.false_positive_rate,
        true_positive_rate=model.true_positive_rate,
        event_recall=model.event_recall,
        last_trained=model.trained_at,
        training_samples=model.training_samples,
        status=model.status,
        threshold=model.threshold,
        detections=said.detections,
        labelled=said.labelled,
        confirmed_share=said.confirmed_share,
        prediction_p95_ms=_milliseconds(latency.p95),
        prediction_p99_ms=_milliseconds(latency.p99),
    )


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000


@router.put("/models/{model_id}/threshold", responses=problems(404, 409))
async def set_threshold(
    model_id: uuid.UUID,
    asked: ThresholdRequest,
    serving: Serving,
    caller: Writer,
    once: Once,
) -> ThresholdAnswer:
    """Set the threshold of a model's device and metric.

    It holds for every later verdict, in every worker within a second, and outlives a training.
    """
    model = await existing_model(serving, model_id, deleted=False)
    store = serving.platform.warehouse.labels.thresholds

    def change(connection: Connection) -> dict[str, Any]:
        series = (DEVICES, model.device_id, model.metric_name)
        store.set(connection, *series, asked.threshold, origin="person", set_by=caller.actor)
        return {
            "model_id": str(model_id),
            "threshold": asked.threshold,
            "previous": model.threshold,
        }

    return ThresholdAnswer(**await once.write(change))


@router.delete("/models/{model_id}/threshold", responses=problems(404, 409))
async def unset_threshold(
    model_id: uuid.UUID,
    serving: Serving,
    caller: Writer,
    once: Once,
) -> ThresholdCleared:
    """Take back the threshold that a person set for a model's device and metric.

    The stream's holds again, or the one that follows from labels; where nobody set one nothing
    changes.
    """
    model = await existing_model(serving, model_id, deleted=False)
    store = serving.platform.warehouse.labels.thresholds
    default = serving.models.metrics(DEVICES).threshold

    def change(connection: Connection) -> dict[str, Any]:
        series = (DEVICES, model.device_id, model.metric_name)
        cleared = store.clear(connection, *series, set_by=caller.actor, origin="person")
        return {
            "model_id": str(model_id),
            "threshold": default if cleared else model.threshold,
            "previous": model.threshold,
        }

    return ThresholdCleared(**await once.write(change))


@router.delete("/models/{model_id}", responses=problems(404))
async def delete_model(
    model_id: uuid.UUID,
    serving: Serving,
    caller: Admin,
    once: Once,
) -> DeleteAnswer:
    """Take a model out of service for good; what it said keeps its author.

    Its device and metric are then judged without a model until the next training.
    """
    model = await existing_model(serving, model_id)

    def delete(connection: Connection) -> dict[str, Any]:
        if mark_deleted(connection, model_id):
            audit.record(
                connection,
                caller.actor,
                "model.delete",
                f"{DEVICES}/{model.device_id}/{model.metric_name}/{model.model_version}",
                {"status": model.status},
                {"status": "deleted"},
            )
        return {"id": str(model_id), "status": "deleted"}

    return DeleteAnswer(**await once.write(delete))
