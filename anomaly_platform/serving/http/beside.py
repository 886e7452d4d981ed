"""A short cut to applications of their own, such as pages for a browser.

They authenticate their callers themselves, and take other bodies than JSON; what comes before them
(ids, counting, trusted hosts) is the service's.
"""

from collections.abc import Mapping

from starlette.types import ASGIApp, Receive, Scope, Send


class Beside:
    """Middleware: hands requests at or below some paths to other applications.

    Parameters
    ----------
    app : ASGIApp
        What comes after, for every other path.
    applications : mapping of str to ASGIApp
        By the path that they are at, such as ``/console``.
    """

    def __init__(self, app: ASGIApp, applications: Mapping[str, ASGIApp]) -> None:
        self._app = app
        self._applications = tuple((path, f"{path}/", one) for path, one in applications.items())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on."""
        if scope["type"] == "http":
            for path, below, application in self._applications:
                if scope["path"] == path or scope["path"].startswith(below):
                    await application(scope, receive, send)
                    return
        await self._app(scope, receive, send)
