"""Refuses requests for other host names than the settings allow."""

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from anomaly_platform.serving.problems import ApiProblem, problem_response


class TrustedHosts:
    """Middleware: answers 400 to a request for a host that is not among the names.

    Parameters
    ----------
    app : ASGIApp
        What comes after.
    names : sequence of str
        Such as ``api.example.com``; ``*.example.com`` means all below it.
    """

    def __init__(self, app: ASGIApp, names: Sequence[str]) -> None:
        self._app = app
        self._names = frozenset(name.lower() for name in names if not name.startswith("*."))
        self._endings = tuple(name[1:].lower() for name in names if name.startswith("*."))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or hand the request on."""
        if scope["type"] != "http" or self._is_trusted(Headers(scope=scope).get("host", "")):
            await self._app(scope, receive, send)
            return
        problem = ApiProblem(400, "the service does not answer under this host name")
        await problem_response(problem, scope["path"])(scope, receive, send)

    def _is_trusted(self, host: str) -> bool:
        host = host.lower()
        name = host[: host.find("]") + 1] if host.startswith("[") else host.partition(":")[0]
        return name in self._names or bool(self._endings and name.endswith(self._endings))
