"""Trainings asked for through the API: asking, waiting for the outcome, and saying what it was.

Belongs here: what routes about training share. Does not belong here: how waiting requests become
one run of Dagster (``sensors``), nor the rows themselves (``resources.training_requests``).
"""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Sequence
from typing import Annotated, Final

from fastapi import Depends, Header

from anomaly_platform.platform import DETECTOR
from anomaly_platform.queries.models import MODEL_STATUS, WITH_BUNDLE
from anomaly_platform.registry.training_requests import TrainingRequest
from anomaly_platform.serving.champions.served import model_id
from anomaly_platform.serving.schemas.training import Training, TrainingRequested
from anomaly_platform.serving.state import ServingState

LONGEST_WAIT_S: Final = 300
_POLL_S: Final = 0.5
_ENDED: Final = ("done", "failed", "cancelled")
_WAIT: Final = re.compile(r"^wait\s*=\s*\"?(\d+)\"?$", re.IGNORECASE)

REASON: Final = "asked for through the API"


async def wanted_wait(
    prefer: Annotated[
        str | None,
        Header(
            max_length=1_024,
            description="wait=N: wait up to N seconds (300 at most) for the outcome.",
            examples=["wait=30"],
        ),
    ] = None,
) -> int:
    """Return for how many seconds the client wants to wait: ``Prefer: wait=N`` (RFC 7240).

    What cannot be understood is ignored, as that standard has it.
    """
    for part in re.split(r"[,;]", prefer or ""):
        found = _WAIT.match(part.strip())
        if found:
            return min(int(found[1]), LONGEST_WAIT_S)
    return 0


Wait = Annotated[int, Depends(wanted_wait)]
"""As a parameter of a route: seconds to wait for the outcome."""


def status_url(request: uuid.UUID) -> str:
    """Return where a training tells how it is doing."""
    return f"/api/v1/ml/training/{request}"


def requested(training: TrainingRequest) -> TrainingRequested:
    """Return a training that goes on, as the API shows it."""
    return TrainingRequested.model_validate(
        {
            "request_id": training.id,
            "status": training.status,
            "status_url": status_url(training.id),
        }
    )


async def wait_for(
    serving: ServingState, requests: Sequence[uuid.UUID], seconds: int
) -> list[TrainingRequest]:
    """Return trainings when all have ended, or as they stand after some seconds."""
    store = serving.platform.warehouse.training_requests
    deadline = time.monotonic() + seconds
    while True:
        found = await asyncio.to_thread(
            lambda: [one for one in map(store.get, requests) if one is not None]
        )
        left = deadline - time.monotonic()
        if left <= 0 or all(one.status in _ENDED for one in found):
            return found
        await asyncio.sleep(min(_POLL_S, left))


async def described(serving: ServingState, training: TrainingRequest) -> Training:
    """Return a training with what came of it."""
    found, accuracy, status, seconds = None, None, None, None
    if training.version:
        seconds = await _training_seconds(serving, training)
    if training.entity is not None and training.metric is not None and training.version:
        found = model_id(
            training.stream,
            training.detector or DETECTOR,
            training.version,
            training.entity,
            training.metric,
        )
        async with serving.pool.connection() as connection:
            cursor = await connection.execute(
                f"SELECT m.accuracy, {MODEL_STATUS} FROM {WITH_BUNDLE} WHERE m.id = %s",  # noqa: S608
                (found,),
            )
            row = await cursor.fetchone()
        if row is None:
            found = None
        else:
            accuracy, status = row
    return Training.model_validate(
        {
            "request_id": training.id,
            "stream": training.stream,
            "entity": training.entity,
            "metric_name": training.metric,
            "training_window": training.window_days,
            "status": training.status,
            "reason": training.reason,
            "outcome": training.outcome,
            "run_id": training.run_id,
            "model_id": found,
            "model_version": training.version,
            "model_status": status,
            "accuracy": accuracy,
            "training_time": seconds,
            "created_at": training.created_at,
            "started_at": training.started_at,
            "finished_at": training.finished_at,
        }
    )


async def _training_seconds(serving: ServingState, training: TrainingRequest) -> float | None:
    """Return how long the version took to train, without waiting, features and gates."""
    async with serving.pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT (parameters ->> 'training_seconds')::float8 FROM bundles "
            "WHERE stream = %s AND detector = %s AND version = %s",
            (training.stream, training.detector or DETECTOR, training.version),
        )
        row = await cursor.fetchone()
    return None if row is None else row[0]
