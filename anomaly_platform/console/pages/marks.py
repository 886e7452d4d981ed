"""Marks of right and wrong on readings and scans, one by one or all of a span, and taking back."""

import asyncio
import uuid
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from anomaly_platform.console.rendering import back_to, own_place
from anomaly_platform.console.rendering import moment as time_in_words
from anomaly_platform.console.viewers import Press, WriterPress, serving_of
from anomaly_platform.console.windows import moment_of
from anomaly_platform.labelling.labels import is_labelled
from anomaly_platform.queries.operation.points import flagged_marks
from anomaly_platform.queries.scored_readings import ReadingFilter
from anomaly_platform.serving.feedback import SaidOfReading, give, label_of_reading, withdraw
from anomaly_platform.serving.lookups import known_stream
from anomaly_platform.serving.problems import ApiProblem
from anomaly_platform.serving.state import ServingState
from anomaly_platform.storage.postgres.transactions import lock

router = APIRouter()

_MARKS: Final = {"right": True, "wrong": False}
_SAID: Final = {"right": "right", "wrong": "a false alarm"}
_TAKEN_BACK: Final = "back"

MOST_TOGETHER: Final = 500
"""Readings that are marked with one button."""


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


@router.post("/marks/span")
async def mark_span(request: Request, press: WriterPress) -> Response:
    """Mark all flagged readings of a span that nobody has marked, or take all marks back."""
    serving = serving_of(request)
    chosen = press.text("mark")
    if chosen not in (*_MARKS, _TAKEN_BACK):
        raise ApiProblem(422, f"mark: right, wrong or {_TAKEN_BACK}")
    stream = known_stream(serving, press.text("stream"))
    entity, metric = press.text("entity"), press.text("metric")
    since, until = moment_of(press.text("since")), moment_of(press.text("until"))
    async with serving.pool.connection() as connection:
        span = ReadingFilter(stream.name, entity, metric, since, until)
        flagged = await flagged_marks(connection, span, limit=2 * MOST_TOGETHER)
    meant = [one for one in flagged if (one.label_id is not None) == (chosen == _TAKEN_BACK)]
    _refuse_unseen(len(meant), press.text("number"))
    if chosen == _TAKEN_BACK:
        labels = [one.label_id for one in meant if one.label_id is not None]
        await asyncio.to_thread(_withdraw, serving, press, *labels)
        became = "not marked any more"
    else:
        said = [
            SaidOfReading(stream, entity, metric, one.event_time, _MARKS[chosen]) for one in meant
        ]
        await asyncio.to_thread(_give, serving, press, *said, once=True)
        became = f"marked {_SAID[chosen]}. It counts from now on"
    return back_to(
        request,
        own_place(press.form.get("back")),
        f"{entity} {metric}: {len(meant)} readings are {became}.",
    )


def _refuse_unseen(meant: int, shown: str) -> None:
    """Refuse to mark other readings than the page has shown (409)."""
    if not 0 < meant <= MOST_TOGETHER or str(meant) != shown:
        raise ApiProblem(
            409,
            f"nothing was done: the page said {shown[:20]} readings, and there are {meant} now. "
            f"Load it again; at most {MOST_TOGETHER} are marked together",
        )


@router.post("/marks/take-back")
async def take_back(request: Request, press: WriterPress) -> Response:
    """Take a mark back; what was said before counts again."""
    serving = serving_of(request)
    try:
        label = uuid.UUID(press.text("label"))
    except ValueError:
        raise ApiProblem(422, "label: the id of a label") from None
    (taken,) = await asyncio.to_thread(_withdraw, serving, press, label)
    back = own_place(press.form.get("back"))
    return back_to(request, back, f"The mark of {taken} is taken back.")


def _give(serving: ServingState, press: Press, *said: SaidOfReading, once: bool = False) -> None:
    """Store marks; `once` refuses where somebody has marked one of the readings meanwhile (409)."""
    with serving.platform.warehouse.transactions.begin() as connection:
        if once:
            lock(connection, "marks", said[0].stream.name, said[0].entity, said[0].metric)
        for one in said:
            stream, label = label_of_reading(connection, one)
            if once and is_labelled(connection, stream, label):
                raise ApiProblem(409, "nothing was done: somebody has marked these meanwhile")
            give(connection, stream, label, actor=press.viewer.caller.actor)


def _withdraw(serving: ServingState, press: Press, *labels: uuid.UUID) -> list[str]:
    """Take marks back; return the entities that they were about."""
    with serving.platform.warehouse.transactions.begin() as connection:
        return [withdraw(connection, one, actor=press.viewer.caller.actor).entity for one in labels]
