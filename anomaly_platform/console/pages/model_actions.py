"""Buttons that decide which version serves: promote, and roll back."""

import asyncio

from fastapi import APIRouter, Request
from starlette.responses import Response

from anomaly_platform.console.rendering import back_to, own_place
from anomaly_platform.console.viewers import WriterPress, serving_of
from anomaly_platform.registry.promotion import PromotionError
from anomaly_platform.serving.lookups import known_stream
from anomaly_platform.serving.problems import ApiProblem

router = APIRouter(prefix="/models")


@router.post("/roll-back")
async def roll_back(request: Request, press: WriterPress) -> Response:
    """Put the version into service again that served before."""
    serving = serving_of(request)
    stream = known_stream(serving, press.text("stream"))
    reason = f"rolled back by {press.viewer.caller.name}: {press.text('reason', most=500)}"
    try:
        served = await asyncio.to_thread(serving.platform.model_sets.roll_back, stream, reason)
    except PromotionError as error:
        raise ApiProblem(409, str(error)) from None
    said = f"{stream.name}: {_named(served)} is in service."
    return back_to(request, own_place(press.form.get("back")), said)


def _named(served: dict[str, int]) -> str:
    return ", ".join(f"{detector} {version}" for detector, version in sorted(served.items()))
