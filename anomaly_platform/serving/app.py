"""Assembles the application: routes, middleware, problem documents and the state of a worker.

``create_app`` makes a new application at every call, so that a test has its own.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from anomaly_platform import __version__
from anomaly_platform.platform import Platform
from anomaly_platform.serving.http.crowd import Crowd
from anomaly_platform.serving.http.direct import DirectRoutes
from anomaly_platform.serving.http.documentation import install_documentation
from anomaly_platform.serving.http.openapi import install_openapi
from anomaly_platform.serving.http.protection import protect
from anomaly_platform.serving.http.request_context import RequestContext
from anomaly_platform.serving.problems import install_problem_handlers
from anomaly_platform.serving.routes import ROUTERS, ml_predict, telemetry
from anomaly_platform.serving.state import ServingState

#: What works for long beside the event loop takes its turn, two of each kind. Most other work
#: waits for the database; a small machine has six threads by default, and none would be left.
_THREADS: Final = 24
_DESCRIPTION = (
    "Scores readings and scans as the models in service see them, and tells about models, "
    "anomalies and trainings. Errors are problem documents (RFC 9457)."
)


class _Api(FastAPI):
    """FastAPI without what it puts around the outermost middleware, which does all of that."""

    def build_middleware_stack(self) -> ASGIApp:
        """Return the middleware, from `RequestContext` on."""
        outermost: Any = super().build_middleware_stack()
        while not isinstance(outermost, RequestContext):
            outermost = outermost.app
        return outermost

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; whatever else there is, is FastAPI's."""
        if scope["type"] != "http" or self.middleware_stack is None:
            await super().__call__(scope, receive, send)
            return
        scope["app"] = self
        await self.middleware_stack(scope, receive, send)


def create_app(platform: Platform, beside: Mapping[str, ASGIApp] | None = None) -> FastAPI:
    """Return an application over a platform; nothing is opened before it starts.

    Parameters
    ----------
    platform : Platform
        Settings, streams, tables and lake.
    beside : mapping of str to ASGIApp or None
        Applications that answer below a path of their own, and authenticate their callers.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS, "beside"))
        async with ServingState.open(platform) as state:
            app.state.serving = state
            settings = platform.settings
            # uvicorn hands it to every connection.
            yield {
                "crowd": Crowd(
                    settings.api_max_connections, settings.api_max_connections_per_client
                )
            }

    app = _Api(
        title="anomaly_platform",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        # The way there would name the host that the client says it has asked.
        redirect_slashes=False,
        # Whether somebody has set telemetry up would be looked for with every request.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    install_problem_handlers(app)
    for router in ROUTERS:
        app.include_router(router)
    direct = (ml_predict.DIRECT, telemetry.DIRECT)
    app.add_middleware(DirectRoutes, routes={route.path: route for route in direct})
    protect(app, platform.settings, beside or {})
    install_openapi(app)
    install_documentation(app)
    return app
