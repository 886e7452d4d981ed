"""Authentication by API key, and the scope that each route needs.

Belongs here: reading a key from a request, refusing one that is unknown, expired or revoked, and
the scope that a route declares with `Require`. Does not belong here: the keys themselves
(``storage.tables.api_keys``, ``auth.key_ring``).

Authentication happens before a request's body is read, so that nobody without a key makes the
service parse anything. Every path that is not in :data:`PUBLIC_PATHS` needs a key, those that do
not exist included; what a route forgets to declare is therefore closed to strangers, and a test
fails for it.
"""

import base64
import binascii
import datetime as dt
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Final, Literal
from uuid import UUID

import psycopg
from fastapi import Depends, Request
from psycopg_pool import PoolTimeout
from starlette.types import ASGIApp, Receive, Scope, Send

from anomaly_platform.serving.auth.key_ring import KeyRing
from anomaly_platform.serving.problems import ApiProblem, problem_response
from anomaly_platform.storage.tables.api_keys import ApiKey, prefix_of

ScopeName = Literal["ml:read", "ml:write", "ml:admin"]

PUBLIC_PATHS: Final = frozenset({"/health/live", "/health/ready", "/api/v1/health"})
"""Answered without a key."""

DOCUMENTATION_PATHS: Final = frozenset(
    {
        *("/docs", "/docs/oauth2-redirect", "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css"),
        *("/docs/favicon.png", "/redoc", "/redoc/redoc.standalone.js", "/openapi.json"),
    }
)
"""Any key opens them; a browser may send it as the password of HTTP Basic."""

OUTAGE_PATHS: Final = frozenset({"/metrics"})
"""Opened by keys that were good lately while the database does not answer: they tell about it."""

_REALM: Final = "anomaly_platform"
_KEY_FIELDS: Final = frozenset((b"authorization", b"x-api-key"))
_MOST_CALLERS: Final = 4096

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose request it is.

    Attributes
    ----------
    key_id : UUID
        Of the key that was presented.
    name : str
        Whose key it is, as given when it was made.
    scopes : frozenset of str
        What it is allowed.
    predictions_per_minute : int or None
        The key's own limit; ``None`` means the default, 0 none.
    """

    key_id: UUID
    name: str
    scopes: frozenset[str]
    predictions_per_minute: int | None = None

    @property
    def actor(self) -> str:
        """Who this is, for the audit log."""
        return f"{self.name} ({self.key_id})"


class Authentication:
    """Middleware: lets a request through with its :class:`Caller`, or answers 401.

    Parameters
    ----------
    app : ASGIApp
        What comes after.
    key_ring : callable
        Returns the keys for a request's scope; they are opened only when the service starts.
    """

    def __init__(self, app: ASGIApp, key_ring: Callable[[Scope], KeyRing]) -> None:
        self._app = app
        self._key_ring = key_ring
        self._callers: dict[str, tuple[ApiKey, Caller]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401 or 503, or hand the request on."""
        if scope["type"] != "http" or scope["path"] in PUBLIC_PATHS:
            await self._app(scope, receive, send)
            return
        try:
            caller = await self._caller(scope)
            _refuse_crowd(scope, caller)
        except ApiProblem as problem:
            await problem_response(problem, scope["path"])(scope, receive, send)
            return
        scope.setdefault("state", {})["caller"] = caller
        await self._app(scope, receive, send)

    async def _caller(self, scope: Scope) -> Caller:
        in_browser = scope["path"] in DOCUMENTATION_PATHS and scope["method"] in ("GET", "HEAD")
        presented = _presented(scope, basic=in_browser)
        if presented is None:
            raise _unauthorized(
                "this needs an API key: send it as 'Authorization: Bearer <key>' or as 'X-API-Key'",
                basic=in_browser,
            )
        ring = self._key_ring(scope)
        prefix = prefix_of(presented)
        key = None if prefix is None else ring.held(prefix)
        if key is None:
            key = await _find(ring, prefix, scope["path"])
        if key is None or not key.is_of(presented):
            # One text for both: which prefixes exist is nobody's business.
            raise _unauthorized("this API key is not known", invalid=True, basic=in_browser)
        state = key.state(dt.datetime.now(dt.UTC))
        if state != "active":
            raise _unauthorized(f"this API key is {state}", invalid=True, basic=in_browser)
        ring.used(key)
        return self._caller_of(key)

    def _caller_of(self, key: ApiKey) -> Caller:
        known = self._callers.get(key.prefix)
        if known is not None and known[0] is key:
            return known[1]
        caller = Caller(key.id, key.name, frozenset(key.scopes), key.predictions_per_minute)
        if len(self._callers) >= _MOST_CALLERS:
            self._callers.clear()
        self._callers[key.prefix] = key, caller
        return caller


@dataclass(frozen=True, slots=True)
class Require:
    """Dependency: the caller, if the key has the scope.

    Examples
    --------
    ``caller: Annotated[Caller, Depends(Require("ml:read"))]``
    """

    scope: ScopeName

    async def __call__(self, request: Request) -> Caller:
        """Return who calls, or refuse with 403 and the scope that is missing."""
        return self.of(request.scope)

    def of(self, scope: Scope) -> Caller:
        """Return whose request a scope is of, or refuse as the dependency does."""
        caller = caller_in(scope)
        if self.scope not in caller.scopes:
            raise ApiProblem(
                403,
                f"this API key lacks the scope {self.scope}",
                headers={
                    "WWW-Authenticate": f'Bearer realm="{_REALM}", error="insufficient_scope", '
                    f'scope="{self.scope}"'
                },
                missing_scope=self.scope,
            )
        return caller


Reader = Annotated[Caller, Depends(Require("ml:read"))]
Writer = Annotated[Caller, Depends(Require("ml:write"))]
Admin = Annotated[Caller, Depends(Require("ml:admin"))]
"""As a parameter of a route: who calls, whose key has the scope."""


def caller_of(request: Request) -> Caller:
    """Return who calls; only behind :class:`Authentication`."""
    return caller_in(request.scope)


def caller_in(scope: Scope) -> Caller:
    """Return whose request a scope is of; only behind :class:`Authentication`."""
    caller = scope.get("state", {}).get("caller")
    if not isinstance(caller, Caller):
        raise ApiProblem(401, "this needs an API key")
    return caller


def _refuse_crowd(scope: Scope, caller: Caller) -> None:
    """Refuse a request whose key has too many connections already."""
    is_of = scope.get("state", {}).get("is_of")
    if is_of is not None and not is_of(caller.key_id):
        raise ApiProblem(
            503,
            "this API key has too many connections to the service; close some, or try later",
            headers={"Retry-After": "5", "Connection": "close"},
        )


async def _find(ring: KeyRing, prefix: str | None, path: str) -> ApiKey | None:
    if prefix is None:
        return None
    try:
        return await ring.find(prefix)
    except (psycopg.OperationalError, PoolTimeout, OSError) as error:
        if path in OUTAGE_PATHS and (known := ring.last_known(prefix)) is not None:
            return known
        _log.warning("no key can be checked: %s", type(error).__name__)
        raise ApiProblem(
            503,
            "the database does not answer, so that no key can be checked; try again",
            headers={"Retry-After": "5"},
        ) from None


def _presented(scope: Scope, *, basic: bool) -> str | None:
    """Return the key that a request presents, or None."""
    said: dict[bytes, str] = {}
    # The first of each counts.
    for name, value in reversed(scope["headers"]):
        if name in _KEY_FIELDS:
            said[name] = value.decode("latin-1")
    scheme, _, credentials = said.get(b"authorization", "").strip().partition(" ")
    credentials = credentials.strip()
    if credentials and scheme.lower() == "bearer":
        return credentials
    if basic and scheme.lower() == "basic":
        try:
            pair = base64.b64decode(credentials, validate=True).decode("ascii")
        except (binascii.Error, UnicodeDecodeError):
            return None
        return pair.partition(":")[2] or None
    return said.get(b"x-api-key") or None


def _unauthorized(detail: str, *, invalid: bool = False, basic: bool = False) -> ApiProblem:
    challenge = f'Bearer realm="{_REALM}"' + (', error="invalid_token"' if invalid else "")
    if basic:
        challenge = f'Basic realm="{_REALM}, the API key as password", {challenge}'
    return ApiProblem(401, detail, headers={"WWW-Authenticate": challenge})
