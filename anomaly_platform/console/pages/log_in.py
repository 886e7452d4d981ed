"""Logging in with an API key, and out again."""

import datetime as dt

from fastapi import APIRouter, Request
from starlette.responses import Response

from anomaly_platform.console.failures import ENDED
from anomaly_platform.console.rendering import back_to, own_place, page
from anomaly_platform.console.sessions import COOKIE, LIFETIME_S, Sessions
from anomaly_platform.console.viewers import form_of, refuse_foreign, serving_of
from anomaly_platform.storage.tables.api_keys import prefix_of

router = APIRouter()

_UNKNOWN = "This API key is not known here, or no longer good."


@router.get("/log-in")
async def show(request: Request) -> Response:
    """Show the form."""
    place = own_place(request.query_params.get("next"))
    wrong = ENDED if request.query_params.get("ended") else ""
    return page(request, "log_in.html", None, next=place, wrong=wrong)


@router.post("/log-in")
async def log_in(request: Request) -> Response:
    """Open a session for whoever has a key."""
    refuse_foreign(request)
    form = await form_of(request)
    place = own_place(form.get("next"))
    presented = form.get("key", "").strip()
    prefix = prefix_of(presented)
    key = None if prefix is None else await serving_of(request).keys.find(prefix)
    # One text for all of it: which prefixes exist is nobody's business.
    if key is None or not key.is_of(presented) or key.state(dt.datetime.now(dt.UTC)) != "active":
        return page(request, "log_in.html", None, status=401, next=place, wrong=_UNKNOWN)
    sessions: Sessions = request.app.state.sessions
    answer = back_to(request, place)
    answer.set_cookie(
        COOKIE,
        sessions.open(key),
        LIFETIME_S,
        path="/console",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )
    return answer


@router.post("/log-out")
async def log_out(request: Request) -> Response:
    """Have this browser forget its session."""
    refuse_foreign(request)
    answer = back_to(request, "/console/log-in")
    answer.delete_cookie(COOKIE, path="/console")
    return answer
