"""``/api/v1/ml``: training the models of devices, and how a training is doing."""

import asyncio
import uuid
from typing import Any

from fastapi import APIRouter, Response

from anomaly_platform.registry.training_requests import TrainingRequest
from anomaly_platform.serving import trainings
from anomaly_platform.serving.auth.security import Caller, Reader, Writer
from anomaly_platform.serving.http.idempotency import Once, Repeatable
from anomaly_platform.serving.http.openapi import accepted, problems
from anomaly_platform.serving.http.strict_query import STRICT_QUERY
from anomaly_platform.serving.lookups import existing_model, known_metrics
from anomaly_platform.serving.problems import ApiProblem, not_found
from anomaly_platform.serving.schemas.training import (
    RetrainAnswer,
    RetrainRequest,
    TrainAnswer,
    Training,
    TrainingRequested,
    TrainRequest,
)
from anomaly_platform.serving.state import Serving, ServingState
from anomaly_platform.serving.trainings import Wait
from anomaly_platform.streams.bindings import DEVICES

router = APIRouter(prefix="/api/v1/ml", tags=["training"], dependencies=[STRICT_QUERY])


@router.post(
    "/models/train",
    response_model=TrainAnswer,
    responses={**accepted(TrainingRequested), **problems(404, 409)},
)
async def train(
    asked: TrainRequest, serving: Serving, caller: Writer, once: Once, wait: Wait
) -> Response | TrainAnswer:
    """Train the model of one device and metric.

    Answers 202 with where to ask again, or, with `Prefer: wait=N`, what came of it. A model that
    passes its gates serves from then on. With fewer readings than a model takes it is refused at
    once (409), as is a training from which no model came.
    """
    series = (asked.device_id, asked.metric_name)
    async with serving.pool.connection() as connection:
        await known_metrics(connection, DEVICES, *series, kind="device")
    said = await _train(serving, caller, once, series, asked.training_window, wait)
    return said if isinstance(said, Response) else TrainAnswer(**said)


@router.post(
    "/models/{model_id}/retrain",
    response_model=RetrainAnswer,
    responses={**accepted(TrainingRequested), **problems(404, 409)},
)
async def retrain(
    model_id: uuid.UUID,
    serving: Serving,
    caller: Writer,
    once: Once,
    wait: Wait,
    asked: RetrainRequest | None = None,
) -> Response | RetrainAnswer:
    """Train a model's device and metric again, on what has come since."""
    model = await existing_model(serving, model_id, deleted=False)
    window = None if asked is None else asked.training_window
    series = (model.device_id, model.metric_name)
    said = await _train(serving, caller, once, series, window, wait)
    if isinstance(said, Response):
        return said
    improvement = None
    if model.accuracy and said["accuracy"] is not None:
        improvement = 100.0 * (said["accuracy"] - model.accuracy) / model.accuracy
    return RetrainAnswer(**said, new_model_id=said["model_id"], improvement_percentage=improvement)


@router.get("/training/{request_id}", responses=problems(404))
async def show_training(request_id: uuid.UUID, serving: Serving, _caller: Reader) -> Training:
    """Return how a training is doing."""
    store = serving.platform.warehouse.training_requests
    found = await asyncio.to_thread(store.get, request_id)
    if found is None:
        raise not_found(f"training {request_id}")
    return await trainings.described(serving, found)


async def _train(
    serving: ServingState,
    caller: Caller,
    once: Repeatable,
    series: tuple[str, str],
    window: int | None,
    wait: int,
) -> Response | dict[str, Any]:
    """Ask for the training of one series, and wait for it.

    Returns
    -------
    Response or dict
        The answer (202) while the training goes on, else what is said of it.

    Raises
    ------
    ApiProblem
        409, when the series has too few readings, or no model came of the training.
    """
    await trainings.refuse_too_few(serving, DEVICES, [series], window)
    found = await trainings.ask_and_wait(
        serving, once, DEVICES, [series], window_days=window, actor=caller.actor, wait=wait
    )
    if not found:
        raise not_found(f"training of {' '.join(series)}")
    training = found[0]
    if trainings.goes_on(training):
        return trainings.accepted_answer(trainings.requested(training), training)
    return _ended(training, await trainings.described(serving, training))


def _ended(training: TrainingRequest, found: Training) -> dict[str, Any]:
    """Return what is said of every training that has ended.

    Raises
    ------
    ApiProblem
        409, when no model came of it; the detail says why.
    """
    if training.status != "done" or found.model_id is None:
        raise ApiProblem(
            409,
            training.outcome or f"the training has {training.status}",
            title="No model came of the training",
            request_id=str(training.id),
            training_status=training.status,
        )
    return {
        "model_id": found.model_id,
        "accuracy": found.accuracy,
        "training_time": found.training_time or 0.0,
        "model_status": found.model_status or "candidate",
        "model_version": found.model_version,
        "outcome": found.outcome,
        "request_id": training.id,
    }
