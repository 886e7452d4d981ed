"""Looks up what a request names, and refuses what does not exist (404)."""

import uuid
from typing import Any

from psycopg import AsyncConnection

from anomaly_platform.queries.known_names import is_known
from anomaly_platform.queries.models import Model, read_model
from anomaly_platform.queries.series import LastReadings, last_readings
from anomaly_platform.serving.problems import ApiProblem, not_found
from anomaly_platform.serving.state import ServingState
from anomaly_platform.streams import Stream
from anomaly_platform.streams.base import NAME
from anomaly_platform.streams.bindings import DEVICES
from anomaly_platform.streams.user_defined import SUFFIXES


def known_stream(serving: ServingState, name: str) -> Stream:
    """Return a stream by name.

    Raises
    ------
    ApiProblem
        404, when there is none of that name.
    """
    for stream in serving.platform.streams:
        if stream.name == name:
            return stream
    raise no_stream(serving, name)


def no_stream(serving: ServingState, name: str, what: str = "") -> ApiProblem:
    """Return the problem of asking for a stream that this process does not have.

    Parameters
    ----------
    what : str
        What there is none of; the stream by its name where it is empty.
    """
    platform = serving.platform
    has_it = any(stream.name == name for stream in platform.streams)
    folder = platform.settings.streams_dir
    if NAME.fullmatch(name) and not has_it:
        for file in (folder / f"{name}{suffix}" for suffix in SUFFIXES):
            if file.is_file():
                return not_found(
                    f"stream {name!r} here: when this service started, {file.name} was not there "
                    "or could not be used. `anomaly streams` says whether it can be used now; a "
                    "restart takes it in"
                )
    return not_found(what or f"stream {name!r}")


async def known_metrics(
    connection: AsyncConnection[Any], stream: str, entity: str, metric: str | None, *, kind: str
) -> LastReadings:
    """Return when the metrics of an entity were last read: of the one that is named, or of all.

    Parameters
    ----------
    kind : str
        What the client calls an entity.

    Raises
    ------
    ApiProblem
        404, when the entity or the metric has no readings.
    """
    metrics = await last_readings(connection, stream, entity)
    if not metrics:
        raise not_found(f"{kind} {entity!r}")
    if metric is None:
        return metrics
    if metric not in metrics:
        raise not_found(f"metric {metric!r} of the {kind} {entity!r}")
    return {metric: metrics[metric]}


async def refuse_unknown(
    connection: AsyncConnection[Any],
    stream: str | None,
    entity: str | None,
    metric: str | None,
    *,
    kind: str,
) -> None:
    """Refuse names that nobody knows, for lists in which nothing was found.

    Parameters
    ----------
    stream, entity, metric : str or None
        What was asked for; None is anything.
    kind : str
        What the client calls an entity.

    Raises
    ------
    ApiProblem
        404, when no such entity, or no such metric of it, has readings or a model.
    """
    if entity is not None and not await is_known(connection, stream, entity, None):
        raise not_found(f"{kind} {entity!r}")
    if metric is not None and not await is_known(connection, stream, entity, metric):
        whose = "" if entity is None else f" of the {kind} {entity!r}"
        raise not_found(f"metric {metric!r}{whose}")


async def existing_model(
    serving: ServingState, model_id: uuid.UUID, *, deleted: bool = True
) -> Model:
    """Return a model of a device.

    Parameters
    ----------
    deleted : bool
        Whether a model that has been deleted will do.

    Raises
    ------
    ApiProblem
        404, when there is none of that id; 409, when it has been deleted.
    """
    default = serving.models.metrics(DEVICES).threshold
    async with serving.pool.connection() as connection:
        found = await read_model(connection, DEVICES, model_id, default=default)
    if found is None:
        raise not_found(f"model {model_id}")
    if found.status == "deleted" and not deleted:
        raise ApiProblem(409, f"model {found.id} has been deleted")
    return found
