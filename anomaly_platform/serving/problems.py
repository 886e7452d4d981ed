"""Errors as RFC 9457 problem documents, the framework's own included.

Belongs here: what a problem looks like, and turning everything that goes wrong into one. Does not
belong here: deciding that something is wrong; routes raise :class:`ApiProblem`.
"""

import json
import logging
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from psycopg import OperationalError
from psycopg_pool import PoolTimeout
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from anomaly_platform.storage.postgres.database import DatabaseError

MEDIA_TYPE: Final = "application/problem+json"
#: What a path may hold as it is (RFC 3986), beside letters, digits and what is never encoded.
_PATH_CHARACTERS: Final = "/:@!$&'()*+,;="

_log = logging.getLogger(__name__)


class FieldProblem(BaseModel):
    """What is wrong with one part of a request."""

    model_config = ConfigDict(extra="forbid")

    location: str = Field(examples=["body.value"], description="Where, as a dotted path.")
    message: str = Field(examples=["Input should be a finite number"])


class Problem(BaseModel):
    """An error, as RFC 9457 has it; further members say more about some of them."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(default="about:blank", description="URI of the kind of problem.")
    title: str = Field(examples=["Not Found"])
    status: int = Field(ge=400, le=599, examples=[404])
    detail: str = Field(examples=["there is no model 3f0c0b6e-6d0f-4e5b-8f8a-0f8e3f1d2c3b"])
    instance: str | None = Field(default=None, examples=["/api/v1/ml/models/3f0c0b6e"])
    errors: list[FieldProblem] | None = Field(
        default=None, description="Each part of the request that cannot be used."
    )


class ApiProblem(Exception):  # noqa: N818 - a problem document in the making
    """Ends a request with a problem document.

    Parameters
    ----------
    status : int
        400 to 599.
    detail : str
        What is wrong with this request, and what would be right.
    title : str or None
        Of the kind of problem; the status' own phrase by default.
    headers : mapping of str to str
        Sent along, such as ``Retry-After``.
    **extra
        Further members of the document, JSON values.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        title: str | None = None,
        headers: Mapping[str, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.title = title or HTTPStatus(status).phrase
        self.headers = dict(headers or {})
        self.extra = extra


def not_found(what: str) -> ApiProblem:
    """Return the problem of asking for something that does not exist."""
    return ApiProblem(404, f"there is no {what}")


def no_database(error: Exception) -> ApiProblem:
    """Return the problem of a database that does not answer, and log its kind."""
    _log.warning("the database does not answer: %s", type(error).__name__)
    return ApiProblem(503, "the database does not answer; try again", headers={"Retry-After": "5"})


def problem_response(problem: ApiProblem, path: str | None = None) -> Response:
    """Return the document as a response."""
    document = {
        "type": "about:blank",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        **({} if path is None else {"instance": _reference(path)}),
        **problem.extra,
    }
    # Text that a client sent may hold what UTF-8 cannot: ASCII with escapes carries everything.
    return Response(
        json.dumps(document, allow_nan=False).encode("ascii"),
        status_code=problem.status,
        media_type=MEDIA_TYPE,
        headers=problem.headers,
    )


def _reference(path: str) -> str:
    """Return a path, which came decoded, as the URI reference that `instance` has to be."""
    # Two slashes at the beginning would name a host.
    return re.sub("^//", "/%2F", quote(path, safe=_PATH_CHARACTERS, errors="replace"))


def invalid(errors: Sequence[Mapping[str, Any]], advice: str = "") -> ApiProblem:
    """Return the problem of a request that does not fit its schema, from pydantic's errors.

    What was sent is not repeated: it may be secret, enormous, or no text at all. Advice of what
    would be right ends the detail.
    """
    found = [
        {
            "location": ".".join(str(part) for part in error["loc"]),
            "message": str(error["msg"]).removeprefix("Value error, "),
        }
        for error in errors[:20]
    ]
    more = f" and {len(errors) - 20} more" if len(errors) > 20 else ""
    detail = "; ".join(f"{one['location']}: {one['message']}" for one in found[:3])
    closing = f"; {advice}" if advice else ""
    return ApiProblem(422, f"the request cannot be used: {detail}{more}{closing}", errors=found)


def invalid_body(error: ValidationError, advice: str = "") -> ApiProblem:
    """Return the problem of a body that does not fit its schema; see :func:`invalid`."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return invalid([{**one, "loc": ("body", *one["loc"])} for one in found], advice)


def none_usable(what: str, errors: Sequence[Mapping[str, str]], *, status: int = 422) -> ApiProblem:
    """Return the problem of rows none of which can be used.

    Parameters
    ----------
    what
        What is wrong, such as ``no scan can be used``.
    errors
        Location and message of each row; the first ones are shown.
    """
    first = errors[0]
    more = f" and {len(errors) - 1} more" if len(errors) > 1 else ""
    detail = f"{what}: {first['location']}: {first['message']}{more}"
    return ApiProblem(status, detail, errors=errors[:20])


def install_problem_handlers(app: FastAPI) -> None:
    """Make what routes refuse a problem document; ``RequestContext`` answers every other error."""
    app.exception_handler(ApiProblem)(_api)
    app.exception_handler(RequestValidationError)(_validation)
    app.exception_handler(HTTPException)(_http)
    for unavailable in (DatabaseError, OperationalError, PoolTimeout):
        app.exception_handler(unavailable)(_database)


async def _api(request: Request, error: ApiProblem) -> Response:
    return problem_response(error, request.scope["path"])


async def _validation(request: Request, error: RequestValidationError) -> Response:
    return problem_response(invalid(error.errors()), request.scope["path"])


async def _http(request: Request, error: HTTPException) -> Response:
    if error.status_code == HTTPStatus.BAD_REQUEST:
        # The framework's word for bytes that are no text, which every other route calls 422.
        return problem_response(
            invalid([{"loc": ("body",), "msg": "is no JSON in UTF-8"}]), request.scope["path"]
        )
    problem = ApiProblem(error.status_code, str(error.detail), headers=error.headers)
    return problem_response(problem, request.scope["path"])


async def _database(request: Request, error: Exception) -> Response:
    return problem_response(no_database(error), request.scope["path"])
