"""What went wrong, as pages for people.

Belongs here: the answers to errors. A page that asks in the background gets the status and no
page: it stays as it is and says that it is old.
"""

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from anomaly_platform.console.rendering import HEADERS, link, page
from anomaly_platform.console.viewers import NotLoggedIn, viewer_of
from anomaly_platform.serving.problems import ApiProblem
from anomaly_platform.serving.problems import no_database as problem_of_database


async def to_log_in(request: Request, _: Exception) -> Response:
    """Lead whoever is not logged in to the log-in, and from there back to where they were going."""
    if request.method != "GET" or _in_background(request):
        return Response("log in first", 401, HEADERS, "text/plain")
    wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    root = request.scope.get("root_path", "").rstrip("/")
    next_page = wanted if wanted != "/console" else None
    return RedirectResponse(f"{root}{link('/console/log-in', next=next_page)}", 303, HEADERS)


async def refused(request: Request, error: ApiProblem) -> Response:
    """Say what is wrong with a request."""
    return await _page(request, error.status, error.title, error.detail)


async def of_framework(request: Request, error: HTTPException) -> Response:
    """Say that there is no such page."""
    known = {404: "there is no such page", 405: "this page cannot be asked that way"}
    detail = known.get(error.status_code, str(error.detail))
    return await _page(request, error.status_code, "Not found", detail)


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
    return page(request, "failure.html", viewer, status=status, title=title, detail=detail)


def _in_background(request: Request) -> bool:
    """Return whether a script asks, not somebody who sees the answer as a page."""
    headers = request.headers
    fetched = headers.get("sec-fetch-dest") == "empty" and "hx-request" not in headers
    return "x-part" in headers or fetched
