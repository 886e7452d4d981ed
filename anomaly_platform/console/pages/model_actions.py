"""Buttons that decide which version serves, and that ask for a training."""

import asyncio
from uuid import UUID

from fastapi import APIRouter, Request
from starlette.responses import Response

from anomaly_platform.console.pages.models import before_of, number_of
from anomaly_platform.console.rendering import back_to, link, own_place
from anomaly_platform.console.viewers import WriterPress, serving_of
from anomaly_platform.registry.promotion import PromotionError
from anomaly_platform.serving.lookups import known_metrics, known_stream
from anomaly_platform.serving.problems import ApiProblem
from anomaly_platform.serving.trainings import refuse_without_rows

router = APIRouter(prefix="/models")


@router.post("/roll-back")
async def roll_back(request: Request, press: WriterPress) -> Response:
    """Put the version into service again that served before, which is the one that was shown."""
    serving = serving_of(request)
    stream = known_stream(serving, press.text("stream"))
    shown = press.form.get("before")
    if shown and number_of(shown) != await asyncio.to_thread(before_of, serving, stream):
        raise ApiProblem(409, "another version serves by now; load the page again")
    reason = f"rolled back by {press.viewer.caller.name}: {press.text('reason', most=500)}"
    try:
        served = await asyncio.to_thread(serving.platform.model_sets.roll_back, stream, reason)
    except PromotionError as error:
        raise ApiProblem(409, str(error)) from None
    said = f"{stream.name}: {_named(served)} is in service."
    return back_to(request, own_place(press.form.get("back")), said)


@router.post("/promote")
async def promote(request: Request, press: WriterPress) -> Response:
    """Put a version into service, past its gates where it failed them and that is confirmed."""
    serving = serving_of(request)
    stream = known_stream(serving, press.text("stream"))
    version = number_of(press.text("version"))
    reason = f"promoted by {press.viewer.caller.name}: {press.text('reason', most=500)}"
    overrule = press.form.get("despite_gates") == "yes"

    def write() -> dict[str, int]:
        return serving.platform.model_sets.put_into_service(
            stream, version, reason, overrule=overrule
        )

    try:
        served = await asyncio.to_thread(write)
    except PromotionError as error:
        raise ApiProblem(409, str(error)) from None
    said = f"{stream.name}: {_named(served)} is in service."
    return back_to(request, own_place(press.form.get("back"), "/console/models"), said)


@router.post("/train")
async def train(request: Request, press: WriterPress) -> Response:
    """Ask for a training of a stream, an entity or a series; the daemon takes it up."""
    serving = serving_of(request)
    stream = known_stream(serving, press.text("stream"))
    entity, metric = (press.form.get(name, "").strip() or None for name in ("entity", "metric"))
    days = press.form.get("window_days", "").strip()
    if days and not days.isdecimal():
        raise ApiProblem(422, "window_days: how many days to learn from")
    if entity is not None:
        async with serving.pool.connection() as connection:
            await known_metrics(connection, stream.name, entity, metric, kind="entity")
    await refuse_without_rows(serving, stream.name)

    def write() -> UUID:
        return serving.platform.warehouse.training_requests.ask(
            stream.name,
            entity=entity,
            metric=metric,
            window_days=int(days) if days else None,
            cause="request",
            reason=press.form.get("reason", "").strip()[:500] or "asked for in the console",
            requested_by=press.viewer.caller.actor,
        )

    try:
        asked = await asyncio.to_thread(write)
    except ValueError as error:
        raise ApiProblem(422, str(error)) from None
    return back_to(
        request,
        link("/console/models/training", asked=asked),
        "The training is asked for. This page follows it.",
    )


def _named(served: dict[str, int]) -> str:
    return ", ".join(f"{detector} {version}" for detector, version in sorted(served.items()))
