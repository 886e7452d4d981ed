"""The middleware between a client and the routes, in its order.

Belongs here: which middleware comes when. From the outside in: every request gets its id and is
counted; a host that is not ours is refused; an application beside the API takes what is its own;
a browser's question about origins is answered; who calls is known before a body is read; and the
body is bounded before it is parsed.
"""

from collections.abc import Mapping

from fastapi import FastAPI
from starlette.types import ASGIApp, Scope

from anomaly_platform.serving.auth.key_ring import KeyRing
from anomaly_platform.serving.auth.security import Authentication
from anomaly_platform.serving.http.beside import Beside
from anomaly_platform.serving.http.bodies.doors import Doors
from anomaly_platform.serving.http.bodies.reading import BoundedBody
from anomaly_platform.serving.http.bodies.refused import RefusedBytes
from anomaly_platform.serving.http.bodies.room import Room
from anomaly_platform.serving.http.cross_origin import ANSWER_HEADERS, REQUEST_HEADERS, CrossOrigin
from anomaly_platform.serving.http.request_context import RequestContext
from anomaly_platform.serving.http.trusted_hosts import TrustedHosts
from anomaly_platform.settings import Settings
from anomaly_platform.settings.types import split_list


def protect(app: FastAPI, settings: Settings, beside: Mapping[str, ASGIApp]) -> None:
    """Put the middleware around an application; the one added last is the outermost."""
    largest, most = settings.api_max_body_mb * 2**20, settings.api_max_bodies_mb * 2**20
    # One body of each size that is allowed fits in.
    room = Room(max(most, largest), max(most // 2, largest))
    refused = RefusedBytes(
        max(settings.api_max_refused_mb * 2**20, largest) if settings.api_max_refused_mb else 0,
        largest,
    )
    app.add_middleware(BoundedBody, doors=Doors(app, largest), room=room, refused=refused)
    app.add_middleware(Authentication, key_ring=_key_ring)
    origins = split_list(settings.api_cors_origins)
    if origins:
        app.add_middleware(
            CrossOrigin,
            allow_origins=origins,
            allow_methods=("GET", "POST", "PUT", "DELETE"),
            allow_headers=REQUEST_HEADERS,
            expose_headers=ANSWER_HEADERS,
        )
    if beside:
        app.add_middleware(Beside, applications=beside)
    hosts = split_list(settings.api_trusted_hosts)
    if hosts:
        app.add_middleware(TrustedHosts, names=hosts)
    app.add_middleware(RequestContext)


def _key_ring(scope: Scope) -> KeyRing:
    keys: KeyRing = scope["app"].state.serving.keys
    return keys
