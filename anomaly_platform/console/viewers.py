"""Who looks at a page, and who may press its buttons.

Belongs here: the dependencies of pages and of buttons. A page needs a session; a button needs a
session, the scope of what it does, the token of its form, and a request that comes from a page of
this console.
"""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Final
from urllib.parse import parse_qsl, urlsplit

from fastapi import Depends, Request

from anomaly_platform.console.sessions import COOKIE, Session, Sessions
from anomaly_platform.serving.auth.security import Caller, ScopeName
from anomaly_platform.serving.problems import ApiProblem
from anomaly_platform.serving.state import ServingState

_LARGEST_FORM: Final = 65_536
_MOST_FIELDS: Final = 100
_FORM: Final = "application/x-www-form-urlencoded"


class NotLoggedIn(Exception):  # noqa: N818 - no error, but the way to the page of the log-in
    """Nobody is logged in, or no longer."""


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks at a page.

    Attributes
    ----------
    caller : Caller
        As whom the API would know them.
    token : str
        What their forms carry.
    """

    caller: Caller
    token: str

    def may(self, scope: str) -> bool:
        """Return whether their key has a scope."""
        return scope in self.caller.scopes


@dataclass(frozen=True, slots=True)
class Press:
    """A button that was pressed by somebody who may: who, and the form's fields."""

    viewer: Viewer
    form: dict[str, str]

    def text(self, name: str, *, most: int = 2_000) -> str:
        """Return a field that has to be filled in.

        Raises
        ------
        ApiProblem
            422, when it is empty or too long.
        """
        found = self.form.get(name, "").strip()
        if not found or len(found) > most:
            raise ApiProblem(422, f"{name}: 1 to {most:,} characters")
        return found


def serving_of(request: Request) -> ServingState:
    """Return what the API's requests share; the console is in its process."""
    state: ServingState = request.app.state.api.state.serving
    return state


async def viewer_of(request: Request) -> Viewer:
    """Return who is logged in.

    Raises
    ------
    NotLoggedIn
        When nobody is.
    """
    sessions: Sessions = request.app.state.sessions
    session = sessions.read(request.cookies.get(COOKIE))
    viewer = None if session is None else await _of(request, sessions, session)
    if viewer is None:
        raise NotLoggedIn
    return viewer


async def _of(request: Request, sessions: Sessions, session: Session) -> Viewer | None:
    ring = serving_of(request).keys
    key = ring.held(session.prefix) or await ring.find(session.prefix)
    if key is None or not sessions.is_of(session, key):
        return None
    if key.state(dt.datetime.now(dt.UTC)) != "active":
        return None
    ring.used(key)
    caller = Caller(key.id, key.name, frozenset(key.scopes), key.predictions_per_minute)
    # For the service's log.
    request.scope.setdefault("state", {})["caller"] = caller
    return Viewer(caller, sessions.token(session))


@dataclass(frozen=True, slots=True)
class Seeing:
    """Dependency: who looks at a page for which their key has to have a scope."""

    scope: ScopeName

    async def __call__(self, request: Request) -> Viewer:
        """Return who looks, or refuse (403; 422 where the address has what no name has)."""
        viewer = await viewer_of(request)
        _refuse_without(viewer, self.scope)
        _refuse_nul(request.query_params.values())
        return viewer


@dataclass(frozen=True, slots=True)
class Pressing:
    """Dependency: who presses a button for which their key has to have a scope."""

    scope: ScopeName

    async def __call__(self, request: Request) -> Press:
        """Return who presses and what they filled in, or refuse (403)."""
        refuse_foreign(request)
        viewer = await viewer_of(request)
        form = await form_of(request)
        if form.pop("token", "") != viewer.token:
            raise ApiProblem(403, "this form is not from this session; load the page again")
        _refuse_without(viewer, self.scope)
        return Press(viewer, form)


@dataclass(frozen=True, slots=True)
class Uploading:
    """Dependency: who sends a file, whose body is the file and whose token is a header."""

    scope: ScopeName

    async def __call__(self, request: Request) -> Press:
        """Return who sends, or refuse (403)."""
        refuse_foreign(request)
        viewer = await viewer_of(request)
        if request.headers.get("x-token", "") != viewer.token:
            raise ApiProblem(403, "this page is not from this session; load it again")
        _refuse_without(viewer, self.scope)
        return Press(viewer, {})


Reading = Annotated[Viewer, Depends(Seeing("ml:read"))]
Ruling = Annotated[Viewer, Depends(Seeing("ml:admin"))]
"""As a parameter of a page: who looks at it."""

WriterPress = Annotated[Press, Depends(Pressing("ml:write"))]
UploaderPress = Annotated[Press, Depends(Uploading("ml:write"))]
AdminPress = Annotated[Press, Depends(Pressing("ml:admin"))]
"""As a parameter of a button: who presses it, with its form."""


def refuse_foreign(request: Request) -> None:
    """Refuse a request that a page of another site has made (403)."""
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is not None:
        is_own = site in ("same-origin", "none")
    else:
        is_own = origin is None or _host_of(origin) == request.headers.get("host")
    if not is_own:
        raise ApiProblem(403, "this request comes from a page of another site")


def _host_of(origin: str) -> str | None:
    """Return the host and port of an origin; None where it is no address."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


async def form_of(request: Request) -> dict[str, str]:
    """Return the fields of a form that was sent.

    Raises
    ------
    ApiProblem
        413, 415 or 422, when the body is too large, no form, or has what no table takes.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip() != _FORM:
        raise ApiProblem(415, "this is no form")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST_FORM:
            raise ApiProblem(413, "this form is too large")
    try:
        pairs = parse_qsl(
            body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict"
        )
    except ValueError:
        raise ApiProblem(422, "this form cannot be read") from None
    form = dict(pairs)
    request.state.form = form
    _refuse_nul(form.values())
    return form


def _refuse_nul(texts: Iterable[str]) -> None:
    if any("\x00" in text for text in texts):
        raise ApiProblem(422, "a name or text has no NUL character")


def _refuse_without(viewer: Viewer, scope: ScopeName) -> None:
    if not viewer.may(scope):
        raise ApiProblem(403, f"your API key lacks the scope {scope}")
