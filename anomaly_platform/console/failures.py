"""What went wrong, as pages for people.

Belongs here: the answers to errors. A page that asks in the background gets the status and no
page: it stays as it is and says that it is old.
"""

import contextlib
from typing import Final
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from anomaly_platform.console.rendering import HEADERS, link, own_place, page
from anomaly_platform.console.viewers import NotLoggedIn, viewer_of
from anomaly_platform.serving.problems import ApiProblem
from anomaly_platform.serving.problems import no_database as problem_of_database

#: Fields of forms that people fill in, whose text they would have to type again.
_TYPED: Final = (*("text", "note", "reason", "name", "entity", "metric", "days", "window_days"),)
_SHORT: Final = 500

ENDED: Final = "Your session has ended; what you pressed after that was not done. Log in again."


async def to_log_in(request: Request, _: Exception) -> Response:
    """Lead whoever is not logged in to the log-in, and from there back to where they were going."""
    if _in_background(request):
        return Response("your session has ended; log in again", 401, HEADERS, "text/plain")
    root = request.scope.get("root_path", "").rstrip("/")
    if request.method != "GET":
        return _session_ended(request, root)
    wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    next_page = wanted if wanted != "/console" else None
    return RedirectResponse(f"{root}{link('/console/log-in', next=next_page)}", 303, HEADERS)


def _session_ended(request: Request, root: str) -> Response:
    """Ask whoever presses a button to log in, and lead back to the page that has the button."""
    headers = request.headers
    place = _before(request)
    answer = page(request, "log_in.html", None, status=401, next=place, wrong=ENDED)
    if "hx-request" in headers:
        answer.headers["hx-redirect"] = f"{root}{link('/console/log-in', next=place, ended='yes')}"
    return answer


def _before(request: Request) -> str:
    """Return the page of this console on which somebody was."""
    headers, asked = request.headers, ""
    root = request.scope.get("root_path", "").rstrip("/")
    with contextlib.suppress(ValueError):  # an address that is none
        before = urlsplit(headers.get("hx-current-url") or headers.get("referer") or "")
        if before.netloc == headers.get("host"):
            asked = before.path.removeprefix(root) + (f"?{before.query}" if before.query else "")
    return own_place(asked)


async def refused(request: Request, error: ApiProblem) -> Response:
    """Say what is wrong with a request."""
    return await _page(request, error.status, error.title, error.detail)


async def of_framework(request: Request, error: HTTPException) -> Response:
    """Say that there is no such page; the address of a button is the page's that has it."""
    if error.status_code == 405 and request.method == "GET" and not _in_background(request):
        root = request.scope.get("root_path", "").rstrip("/")
        above = own_place(request.url.path.removeprefix(root).rpartition("/")[0])
        return RedirectResponse(f"{root}{above}", 303, HEADERS)
    known = {404: "there is no such page", 405: "this page cannot be asked that way"}
    detail = known.get(error.status_code, str(error.detail))
    return await _page(request, error.status_code, "Not found", detail)


async def of_address(request: Request, error: RequestValidationError) -> Response:
    """Say which parts of an address are missing, or are not what they have to be."""
    parts = ", ".join(dict.fromkeys(str(one["loc"][-1]) for one in error.errors()))
    return await _page(request, 422, "This address leads nowhere", f"look at its {parts}")


async def unexpected(request: Request, _: Exception) -> Response:
    """Say that something is broken; the service's log has what."""
    detail = "the platform made a mistake; its log says which. Load the page again."
    return await _page(request, 500, "Something broke", detail)


async def broken_off(_request: Request, _: Exception) -> Response:
    """Answer nobody: the client went away before all of its body was there."""
    return Response(status_code=400, headers=HEADERS)


async def no_database(request: Request, error: Exception) -> Response:
    """Say that the database does not answer."""
    problem = problem_of_database(error)
    return await _page(request, problem.status, "The database does not answer", problem.detail)


async def _page(request: Request, status: int, title: str, detail: str) -> Response:
    if _in_background(request):
        return Response(detail, status, HEADERS, "text/plain")
    try:
        viewer = await viewer_of(request)
    except NotLoggedIn:
        viewer = None
    except Exception:
        viewer = None
    form = getattr(request.state, "form", {})
    answer = page(
        request,
        "failure.html",
        viewer,
        status=status,
        title=title,
        detail=detail,
        before=_before(request),
        typed={name: form[name] for name in _TYPED if 0 < len(form.get(name, "")) <= _SHORT},
    )
    if request.method != "GET":
        # The address stays the page's that has the form: it can be loaded again.
        answer.headers["hx-push-url"] = "false"
    return answer


def _in_background(request: Request) -> bool:
    """Return whether a script asks, not somebody who sees the answer as a page."""
    headers = request.headers
    fetched = headers.get("sec-fetch-dest") == "empty" and "hx-request" not in headers
    return "x-part" in headers or fetched
