"""Marks of right and wrong on single readings and scans, and taking them back."""

import asyncio
import uuid

from fastapi import APIRouter, Request
from starlette.responses import Response

from anomaly_platform.console.rendering import back_to, own_place
from anomaly_platform.console.rendering import moment as time_in_words
from anomaly_platform.console.viewers import Press, WriterPress, serving_of
from anomaly_platform.console.windows import moment_of
from anomaly_platform.serving.feedback import SaidOfReading, give, label_of_reading, withdraw
from anomaly_platform.serving.lookups import known_stream
from anomaly_platform.serving.problems import ApiProblem
from anomaly_platform.serving.state import ServingState

router = APIRouter()

_MARKS = {"right": True, "wrong": False}
_SAID = {"right": "right", "wrong": "a false alarm"}


@router.post("/marks")
async def mark(request: Request, press: WriterPress) -> Response:
    """Say that a reading is an anomaly (right), or that it is none (wrong)."""
    serving = serving_of(request)
    chosen = press.text("mark")
    if chosen not in _MARKS:
        raise ApiProblem(422, "mark: right or wrong")
    said = SaidOfReading(
        known_stream(serving, press.text("stream")),
        press.text("entity"),
        press.text("metric"),
        moment_of(press.text("time")),
        _MARKS[chosen],
    )
    await asyncio.to_thread(_give, serving, press, said)
    what = said.entity if said.metric == "scan" else f"{said.entity} {said.metric}"
    return back_to(
        request,
        own_place(press.form.get("back")),
        f"{what}, {time_in_words(said.time)}, is marked {_SAID[chosen]}. It counts from now on; "
        "Undo takes it back.",
    )


@router.post("/marks/take-back")
async def take_back(request: Request, press: WriterPress) -> Response:
    """Take a mark back; what was said before counts again."""
    serving = serving_of(request)
    try:
        label = uuid.UUID(press.text("label"))
    except ValueError:
        raise ApiProblem(422, "label: the id of a label") from None
    taken = await asyncio.to_thread(_withdraw, serving, press, label)
    back = own_place(press.form.get("back"))
    return back_to(request, back, f"The mark of {taken} is taken back.")


def _give(serving: ServingState, press: Press, said: SaidOfReading) -> None:
    with serving.platform.warehouse.transactions.begin() as connection:
        stream, label = label_of_reading(connection, said)
        give(connection, stream, label, actor=press.viewer.caller.actor)


def _withdraw(serving: ServingState, press: Press, label: uuid.UUID) -> str:
    with serving.platform.warehouse.transactions.begin() as connection:
        return withdraw(connection, label, actor=press.viewer.caller.actor).entity
