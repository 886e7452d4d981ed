"""``POST /api/v1/scans/{stream}/detect``: scans in, what is wrong with them out."""

import asyncio
import datetime as dt
import io
from collections.abc import Iterable, Mapping
from functools import lru_cache, partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Request, Response
from pydantic import TypeAdapter, ValidationError

from anomaly_platform.ml.scans.response import BarcodeResponse, write_response
from anomaly_platform.serving.auth.rate_limits import Predicting
from anomaly_platform.serving.auth.security import Reader
from anomaly_platform.serving.champions.served import ServedScans
from anomaly_platform.serving.http.bodies.json_scan import pieces_of
from anomaly_platform.serving.http.bodies.large import off_loop
from anomaly_platform.serving.http.direct import read_body
from anomaly_platform.serving.http.openapi import body_of, problems
from anomaly_platform.serving.lookups import no_stream
from anomaly_platform.serving.metrics.requests import count_scored
from anomaly_platform.serving.predict.scan_answers import Answer, key_of
from anomaly_platform.serving.predict.scans import Detection, judge_scans
from anomaly_platform.serving.problems import ApiProblem, invalid, invalid_body, none_usable
from anomaly_platform.serving.schemas.base import Name
from anomaly_platform.serving.schemas.scans import ScanDetectRequest, ScanEvent, as_text
from anomaly_platform.serving.state import Serving, ServingState
from anomaly_platform.streams.bindings import SCANS

router = APIRouter(prefix="/api/v1", tags=["barcode"])

#: Requests that are judged at the same time; each has threads of its own.
_AT_ONCE: Final = 2
#: Scans that are parsed at once: less than a millisecond of the interpreter.
_PIECE: Final = 100
_ASKED: Final = TypeAdapter(ScanDetectRequest)
_EVENTS: Final = TypeAdapter(list[ScanEvent])


@router.post(
    "/barcode/detect",
    response_model=BarcodeResponse,
    openapi_extra=body_of(ScanDetectRequest),
)
async def detect(
    request: Request,
    serving: Serving,
    _caller: Reader,
    _counted: Predicting = None,
) -> Response:
    """Judge scans of one or many codes; nothing of them is stored.

    Scans without a code or a time that can be used are put into quarantine and left out of the
    answer; the header ``X-Quarantined`` counts them. A detector or rule that failed or was late is
    left out, the others weigh more, and ``leftOut`` and ``X-Left-Out`` name it. ``blindRules``
    names the rules that could not judge, and why; ``silentDetectors`` the learned detectors that
    have too little data. ``X-Model-Version`` is the set of models that judged; without one the
    rules speak alone. The same request again is answered from memory, and ``X-Cache`` says ``hit``,
    until other models serve or a day is scored anew.
    """
    return await _answer(serving, SCANS, request)


@router.post(
    "/scans/{stream}/detect",
    response_model=BarcodeResponse,
    openapi_extra=body_of(ScanDetectRequest),
    responses=problems(404),
)
async def detect_in_stream(
    stream: Annotated[Name, Path(examples=["barcode"])],
    request: Request,
    serving: Serving,
    _caller: Reader,
    _counted: Predicting = None,
) -> Response:
    """Judge scans of a stream by its own models, as ``/barcode/detect`` does for its stream."""
    return await _answer(serving, stream, request)


async def _answer(serving: ServingState, stream: str, request: Request) -> Response:
    body = await read_body(request)
    asked = await off_loop(len(body), partial(_asked, body))
    try:
        served = serving.models.scans(stream)
    except KeyError:
        raise no_stream(serving, stream, f"stream of scans {stream!r}") from None
    async with _turn(asyncio.get_running_loop()):
        answer = await asyncio.to_thread(_detect, serving, served, asked)
    detection = answer.detection
    if not detection.scans:
        raise _none_usable(detection)
    count_scored(stream, detection.scans, detection.anomalies)
    request.scope["state"]["judged"] = stream
    headers = {
        "X-Model-Version": "rules" if detection.version is None else str(detection.version),
        "X-Quarantined": str(len(detection.refused)),
        "X-Duplicates": str(detection.duplicates),
    }
    if detection.silence.left_out:
        headers["X-Left-Out"] = ", ".join(sorted(detection.silence.left_out))
    if answer.kept:
        headers["X-Cache"] = "hit"
    return Response(answer.text, media_type="application/json", headers=headers)


def _asked(body: bytes) -> ScanDetectRequest:
    """Return a request, parsed piece by piece, so that others get their turn meanwhile.

    Raises
    ------
    ApiProblem
        422, when it does not fit its schema.
    """
    first, *further = pieces_of(body, b"data", _PIECE)
    try:
        asked = _ASKED.validate_json(first)
        for number, piece in enumerate(further, 1):
            try:
                asked.data.extend(_EVENTS.validate_json(piece))
            except ValidationError as error:
                raise _wrong_in(body, error, number * _PIECE) from None
    except ValidationError as error:
        raise invalid_body(error, _advice(error.errors())) from None
    return asked


def _wrong_in(body: bytes, error: ValidationError, before: int) -> ApiProblem:
    """Return the problem of a piece as one of the whole, which has so many scans before it."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    if not found[0]["loc"]:
        # No JSON: only the whole says where it ends to be any.
        _ASKED.validate_json(body)
    places = [("body", "data", int(one["loc"][0]) + before, *one["loc"][1:]) for one in found]
    return invalid(
        [{**one, "loc": place} for one, place in zip(found, places, strict=True)], _advice(found)
    )


def _advice(errors: Iterable[Mapping[str, Any]]) -> str:
    """Say which members there are where one is unknown; blank elsewhere."""
    unknown = [one for one in errors if one["type"] == "extra_forbidden"]
    if not unknown:
        return ""
    if any(len(one["loc"]) > 1 for one in unknown):
        return f"the members of a scan are {', '.join(ScanEvent.model_fields)}"
    return "the members are data, fileId"


@lru_cache(maxsize=8)
def _turn(_loop: asyncio.AbstractEventLoop) -> asyncio.Semaphore:
    return asyncio.Semaphore(_AT_ONCE)


def _detect(serving: ServingState, served: ServedScans, asked: ScanDetectRequest) -> Answer:
    # One by one, so that others get their turn meanwhile.
    said = "\n".join(one.model_dump_json() for one in asked.data)
    key = key_of(serving.platform, served, f"{said}\n{asked.file_id!r}")
    known = serving.scan_answers.find(key)
    if known is not None:
        return known
    events: list[dict[str, Any]] = [
        {**one.__dict__, "event_id": as_text(one.event_id), "file_id": as_text(one.file_id)}
        for one in asked.data
    ]
    ids = {n: one.event_id for n, one in enumerate(asked.data, 1) if one.event_id not in (None, "")}
    named = (one.file_id for one in asked.data if one.file_id not in (None, ""))
    file_id = next(named, None) if asked.file_id in (None, "") else asked.file_id
    detection = Detection()
    chunks = judge_scans(
        serving.platform,
        served,
        events,
        detection,
        now=dt.datetime.now(dt.UTC),
    )
    out = io.StringIO()
    write_response(out, chunks, file_id, event_ids=ids, silence=detection.silence)
    serving.scan_answers.keep(key, out.getvalue(), detection)
    return Answer(out.getvalue(), detection)


def _none_usable(detection: Detection) -> ApiProblem:
    errors = [
        {"location": f"body.data.{row - 1}.{field}".rstrip("."), "message": reason}
        for row, field, reason in detection.refused
    ]
    return none_usable("no scan can be used", errors)
