"""``POST /api/v1/telemetry``: readings in, stored and judged when the answer comes.

The body is parsed once, by its schema, and the answer written once: thousands of readings a second
pass here.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from fastapi import APIRouter, Request, Response
from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from anomaly_platform.ingest.online.reading_columns import ReadingColumns, plain_columns
from anomaly_platform.ingest.online.readings import Reading, ReadingRules, Refusal
from anomaly_platform.serving.auth.security import Require, Writer
from anomaly_platform.serving.http.bodies.large import off_loop
from anomaly_platform.serving.http.direct import Direct, JsonAnswer, read_body
from anomaly_platform.serving.http.idempotency import Once, Repeatable, repeatable_directly
from anomaly_platform.serving.http.openapi import problems
from anomaly_platform.serving.lookups import no_stream
from anomaly_platform.serving.metrics.requests import count_scored
from anomaly_platform.serving.problems import ApiProblem, invalid_body, none_usable
from anomaly_platform.serving.schemas.telemetry import (
    MOST_READINGS,
    STREAM_BODY,
    TELEMETRY_BODY,
    Members,
    TelemetryAnswer,
    adapters_of,
    members_in_words,
    members_of,
    names_in,
)
from anomaly_platform.serving.state import ServingState
from anomaly_platform.serving.telemetry.ingest import Telling
from anomaly_platform.serving.telemetry.verdicts import answer_of, written_rows
from anomaly_platform.serving.telemetry.verdicts import verdicts as verdicts_of
from anomaly_platform.streams import metric_streams
from anomaly_platform.streams.bindings import DEVICES

_WRITER: Final = Require("ml:write")

router = APIRouter(prefix="/api/v1", tags=["telemetry"])


@router.post(
    "/telemetry",
    response_model=TelemetryAnswer,
    openapi_extra=TELEMETRY_BODY,
    responses=problems(400, 409),
)
async def send_telemetry(request: Request, _caller: Writer, once: Once) -> Response:
    """Store and judge one reading of a device, or up to 10,000.

    A reading that cannot be used is refused by itself, with the member at fault; the others are
    stored. When none can be kept the answer is 422, or 409 where all contradict what is known.
    """
    return await _take_once(request, DEVICES, once)


@router.post(
    "/streams/{stream}/telemetry",
    response_model=TelemetryAnswer,
    openapi_extra=STREAM_BODY,
    responses=problems(400, 404, 409),
)
async def send_stream_telemetry(
    stream: str,
    request: Request,
    _caller: Writer,
    once: Once,
) -> Response:
    """Store and judge readings of any metric stream, under its own names of the members."""
    return await _take_once(request, stream, once)


async def _take_once(request: Request, name: str, once: Repeatable) -> Response:
    return JsonAnswer(await once.answer(partial(_take, request, name)))


async def _take(request: Request, name: str, now: dt.datetime) -> bytes:
    """Return the answer to readings that came at a moment."""
    serving: ServingState = request.app.state.serving
    known = metric_streams(serving.platform.streams)
    stream = known.get(name)
    if stream is None:
        what = f"stream {name!r} of readings; there are {', '.join(known)}"
        raise no_stream(serving, name, what)
    body, rules = await read_body(request), serving.platform.reading_rules(stream)
    members = members_of(stream)
    names, plain, checked = await off_loop(len(body), partial(_read, body, members, rules, now))
    if plain is not None:
        said = await serving.ingestion.ingest_columns(stream, plain, source="api", telling=REPLY)
        if isinstance(said, Reply):
            serving.look_backs.forget(serving.models.metrics(stream.name), plain.keys)
            count_scored(stream.name, len(plain), said.anomalies)
            return said.body
        checked, answers = plain.readings(), said
    else:
        good = [one for one in checked if isinstance(one, Reading)]
        answers = await serving.ingestion.ingest(stream, good, source="api")
    verdicts = verdicts_of(names, checked, answers)
    kept = [one for one in answers if one.outcome != "conflict"]
    stored = [one.reading for one in kept if one.outcome == "stored" and one.reading is not None]
    serving.look_backs.forget(
        serving.models.metrics(stream.name), {(one.entity, one.metric) for one in stored}
    )
    count_scored(stream.name, len(stored), sum(one.is_anomaly is True for one in stored))
    if not kept:
        raise _nothing_kept(verdicts, many=_is_list(body))
    content = {
        "accepted": len(kept),
        "refused": len(verdicts) - len(kept),
        "anomalies": sum(
            one.reading is not None and one.reading.is_anomaly is True for one in kept
        ),
        "readings": verdicts,
    }
    return to_json(content)


async def _send_directly(request: Request) -> Response:
    _WRITER.of(request.scope)
    return await _take_once(request, DEVICES, await repeatable_directly(request))


DIRECT: Final = Direct("/api/v1/telemetry", _send_directly)
"""The first of these routes, for requests that come without the framework's detours."""


class Reply(NamedTuple):
    """The answer to readings that all were stored, and how many are anomalies."""

    body: bytes
    anomalies: int


REPLY: Final = Telling(written_rows, lambda rows, count: Reply(answer_of(rows, count), count))
"""Answers readings that all were stored."""


def _read(
    body: bytes, members: Members, rules: ReadingRules, now: dt.datetime
) -> tuple[Mapping[str, str], ReadingColumns | None, Sequence[Reading | Refusal]]:
    """Return the names that a body gives to the members, and its readings in one of two ways."""
    documents = _documents(body)
    # Who calls a member one thing here and another there is answered in the words used first.
    names = names_in(documents[0] if documents else None, members)
    plain = _plain(documents, names, rules, now)
    checked = () if plain is not None else _checked(body, documents, members, rules, now)
    return names, plain, checked


def _documents(body: bytes) -> Sequence[Any]:
    """Return what a body says, of one reading or of many; nothing where it is no JSON."""
    try:
        said = from_json(body)
    except ValueError:
        return ()
    return said if isinstance(said, list) else [said]


def _plain(
    documents: Sequence[Any], names: Mapping[str, str], rules: ReadingRules, now: dt.datetime
) -> ReadingColumns | None:
    """Return readings that need no second look, None where there may be others."""
    return plain_columns(documents, names, rules, now) if len(documents) <= MOST_READINGS else None


def _checked(
    body: bytes,
    documents: Sequence[Any],
    members: Members,
    rules: ReadingRules,
    now: dt.datetime,
) -> list[Reading | Refusal]:
    """Return each reading as it is kept, or why it is not."""
    one, many = adapters_of(members)
    try:
        raw = many.validate_json(body) if _is_list(body) else [one.validate_json(body)]
    except ValidationError as error:
        if not _is_list(body) or not 0 < len(documents) <= MOST_READINGS:
            raise invalid_body(error, _advice(error, members)) from None
        raw = [_reading_or_refusal(one, said, members) for said in documents]
    good = iter(rules.check([said for said in raw if not isinstance(said, Refusal)], now))
    return [said if isinstance(said, Refusal) else next(good) for said in raw]


def _reading_or_refusal(adapter: TypeAdapter[Any], said: Any, members: Members) -> Any:
    """Return one reading of many, or what of it does not fit the schema."""
    try:
        return adapter.validate_python(said)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=True)[0]
        member = str(first["loc"][0]) if first["loc"] else ""
        fields = {name: field for field, names in members for name in names}
        field = fields.get(member, member)
        if field == "value" and first["input"] is None:
            return Refusal(field, "the reading is missing: its value is null")
        advice = _advice(error, members)
        reason = f"{first['msg'][:1].lower()}{first['msg'][1:]}"
        return Refusal(field, f"{reason}; {advice}" if advice else reason)


def _advice(error: ValidationError, members: Members) -> str:
    misnamed = any(one["type"] in ("missing", "extra_forbidden") for one in error.errors())
    return f"the members are {members_in_words(members)}" if misnamed else ""


def _is_list(body: bytes) -> bool:
    return body.lstrip(b" \t\r\n").startswith(b"[")


def _nothing_kept(verdicts: Sequence[dict[str, Any]], *, many: bool) -> ApiProblem:
    """Return the problem of a request, of a list or not, of which nothing is kept."""
    refused = [one for one in verdicts if one["status"] == "refused"]
    errors = [
        {
            "location": (f"body.{place}" if many else "body")
            + (f".{error['field']}" if error["field"] else ""),
            "message": error["reason"],
        }
        for place, one in enumerate(verdicts)
        if (error := one["error"])
    ]
    return none_usable("no reading was kept", errors, status=422 if refused else 409)
