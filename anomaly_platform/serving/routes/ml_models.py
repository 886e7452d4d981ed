"""``/api/v1/ml/models``: the models of devices."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Depends

from anomaly_platform.serving.model_rows import read_model
from anomaly_platform.serving.openapi import problems
from anomaly_platform.serving.problems import not_found
from anomaly_platform.serving.schemas.models import Model
from anomaly_platform.serving.security import Caller, require
from anomaly_platform.serving.state import Serving

STREAM = "iiot"

router = APIRouter(prefix="/api/v1/ml", tags=["models of devices"])


Reader = Annotated[Caller, Depends(require("ml:read"))]


@router.get("/models/{model_id}", responses=problems(404))
async def show_model(model_id: uuid.UUID, serving: Serving, _caller: Reader) -> Model:
    """Return one model."""
    served = serving.models.metrics(STREAM)
    async with serving.pool.connection() as connection:
        found = await read_model(connection, STREAM, model_id, default=served.threshold)
    if found is None:
        raise not_found(f"model {model_id}")
    return found
