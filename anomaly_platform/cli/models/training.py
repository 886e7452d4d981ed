"""``anomaly train``: asks for a training, which the sensor turns into a run, and waits if told."""

import time
from uuid import UUID

from rich.console import Console

from anomaly_platform.cli.operator import person
from anomaly_platform.platform import Platform
from anomaly_platform.registry.training_requests import TrainingRequest
from anomaly_platform.streams import Stream

_LOOK_SECONDS = 1.0
_ENDED = ("done", "failed", "cancelled")


def ask_for_training(
    platform: Platform,
    stream: Stream,
    *,
    entity: str | None,
    metric: str | None,
    window_days: int | None,
    reason: str,
) -> UUID:
    """Enter a request and return its id.

    Raises
    ------
    ValueError
        When the stream cannot do what is asked, or has never seen the series.
    """
    if not stream.has_series and (entity or metric or window_days):
        raise ValueError(
            f"{stream.name} has one model for all of its scans and its own window; "
            "leave --entity, --metric and --window-days out"
        )
    if entity is not None:
        known = platform.warehouse.series.extents(stream.name).select("entity", "metric").rows()
        if not any(e == entity and metric in (None, m) for e, m in known):
            named = entity if metric is None else f"{entity} {metric}"
            raise ValueError(f"{stream.name} has never seen {named}")
    return platform.warehouse.training_requests.ask(
        stream.name,
        entity=entity,
        metric=metric,
        window_days=window_days,
        cause="request",
        reason=reason,
        requested_by=person(),
    )


def wait_for_training(
    platform: Platform, request: UUID, console: Console, patience_s: float
) -> TrainingRequest | None:
    """Wait until a request has ended; return it, or ``None`` when patience has."""
    deadline = time.monotonic() + patience_s
    status = ""
    while time.monotonic() < deadline:
        found = platform.warehouse.training_requests.get(request)
        if found is None:
            return None
        if found.status != status:
            status = found.status
            console.print(f"{found.subject}: {status}", markup=False)
        if status in _ENDED:
            return found
        time.sleep(_LOOK_SECONDS)
    return None
