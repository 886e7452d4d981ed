"""Trainings through the API: asking for them, waiting for the outcome, and showing it.

Belongs here: what routes about training share. Does not belong here: how waiting requests become
one run of Dagster (``sensors``), nor the rows themselves (``registry.training_requests``).
"""

import asyncio
import datetime as dt
import re
import time
import uuid
from collections.abc import Sequence
from typing import Annotated, Any, Final

from fastapi import Depends, Header
from fastapi.responses import JSONResponse

from anomaly_platform.platform import DETECTOR
from anomaly_platform.queries.bundles import training_seconds
from anomaly_platform.queries.models import read_model
from anomaly_platform.queries.series import most_readings
from anomaly_platform.registry.training_requests import TrainingRequest
from anomaly_platform.serving.champions.served import model_id
from anomaly_platform.serving.http.idempotency import Repeatable
from anomaly_platform.serving.lookups import known_stream
from anomaly_platform.serving.problems import ApiProblem
from anomaly_platform.serving.schemas.base import ApiModel
from anomaly_platform.serving.schemas.training import Training, TrainingRequested
from anomaly_platform.serving.state import ServingState
from anomaly_platform.storage.postgres.transactions import Connection

LONGEST_WAIT_S: Final = 300
_POLL_S: Final = 0.5
_WAIT: Final = re.compile(r"^wait\s*=\s*\"?(\d+)\"?$", re.IGNORECASE)
_REASON: Final = "asked for through the API"


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


async def refuse_too_few(
    serving: ServingState,
    stream: str,
    series: Sequence[tuple[str, str | None]],
    window_days: int | None,
) -> None:
    """Refuse a training of series none of which has readings enough in its window.

    Parameters
    ----------
    series : sequence of (str, str or None)
        Entity and metric of each; without a metric, its metric with most readings counts.
    window_days : int or None
        Days of history; None is the stream's policy.

    Raises
    ------
    ApiProblem
        409, with how many readings there are and how many a model takes.
    """
    if not series:
        return
    least = serving.settings.min_training_samples
    window = known_stream(serving, stream).retraining.window
    if window_days is not None:
        window = dt.timedelta(days=window_days)
    async with serving.pool.connection() as connection:
        most = await most_readings(connection, stream, series, window, enough=least)
    if most >= least:
        return
    whose = " ".join(part for part in series[0] if part)
    has = f"{whose} has" if len(series) == 1 else f"each of the {len(series)} asked for has at most"
    raise ApiProblem(
        409,
        f"{has} {most} readings in the {window.days} days before its newest one, and a model "
        f"takes {least}: bring in more, or ask for a longer window. What arrived in the last "
        "minutes counts once a batch has taken it",
        title="Too few readings to train on",
        readings=most,
        readings_needed=least,
    )


async def refuse_without_rows(serving: ServingState, stream: str) -> None:
    """Refuse a training of a stream that has no features yet.

    Raises
    ------
    ApiProblem
        409, with what to do.
    """
    newest = serving.platform.warehouse.partitions.newest
    if await asyncio.to_thread(newest, stream, "features") is None:
        raise ApiProblem(
            409,
            f"{stream} has no rows to train on yet: put a file in, or wait until a running "
            "platform has taken in those that wait",
            title="Nothing to train on",
        )


async def ask_and_wait(
    serving: ServingState,
    once: Repeatable,
    stream: str,
    series: Sequence[tuple[str | None, str | None]],
    *,
    window_days: int | None,
    actor: str,
    wait: int,
) -> list[TrainingRequest]:
    """Ask for trainings, or find those that the same request has asked for; wait for them.

    Parameters
    ----------
    series : sequence of (str or None, str or None)
        Entity and metric of each training; None means all.
    window_days : int or None
        Days of history; None is the stream's policy.
    actor : str
        Who asks.
    wait : int
        Seconds after which they are returned as they stand.
    """
    requests = serving.platform.warehouse.training_requests

    def write(connection: Connection) -> dict[str, Any]:
        found = [
            requests.ask(
                stream,
                entity=entity,
                metric=metric,
                window_days=window_days,
                cause="request",
                reason=_REASON,
                requested_by=actor,
                connection=connection,
            )
            for entity, metric in series
        ]
        return {"requests": [str(one) for one in found]}

    answer = await once.write(write)
    # Answers that are kept for a day may have been written by a version before this one.
    asked = answer.get("requests") or [answer["request_id"]]
    return await _wait_for(serving, [uuid.UUID(one) for one in asked], wait)


async def _wait_for(
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
        if left <= 0 or not any(goes_on(one) for one in found):
            return found
        await asyncio.sleep(min(_POLL_S, left))


def goes_on(training: TrainingRequest) -> bool:
    """Return whether a training has not ended."""
    return training.status in ("waiting", "running")


def requested(training: TrainingRequest) -> TrainingRequested:
    """Return a training that goes on, as the API shows it."""
    return TrainingRequested.model_validate(
        {
            "request_id": training.id,
            "status": training.status,
            "status_url": _status_url(training),
        }
    )


def accepted_answer(body: ApiModel, training: TrainingRequest) -> JSONResponse:
    """Return an answer (202) that names where to ask again how a training is doing."""
    return JSONResponse(
        body.model_dump(mode="json"),
        status_code=202,
        headers={"Location": _status_url(training)},
    )


def _status_url(training: TrainingRequest) -> str:
    return f"/api/v1/ml/training/{training.id}"


async def described(serving: ServingState, training: TrainingRequest) -> Training:
    """Return a training with what came of it."""
    model, seconds, stream = None, None, training.stream
    if training.version:
        detector = training.detector or DETECTOR
        async with serving.pool.connection() as connection:
            seconds = await training_seconds(connection, stream, detector, training.version)
            if training.entity is not None and training.metric is not None:
                identity = model_id(
                    stream, detector, training.version, training.entity, training.metric
                )
                default = serving.settings.threshold
                model = await read_model(connection, stream, identity, default=default)
    return Training.model_validate(
        {
            "request_id": training.id,
            "stream": stream,
            "entity": training.entity,
            "metric_name": training.metric,
            "training_window": training.window_days,
            "status": training.status,
            "reason": training.reason,
            "outcome": training.outcome,
            "run_id": training.run_id,
            "model_id": model and model.id,
            "model_version": training.version,
            "model_status": model and model.status,
            "accuracy": model and model.accuracy,
            "training_time": seconds,
            "created_at": training.created_at,
            "started_at": training.started_at,
            "finished_at": training.finished_at,
        }
    )
