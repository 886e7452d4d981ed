"""What each route asks of a request before anything of its body is read.

Belongs here: finding the route that a request will reach, the scope that it needs, whether it
counts as a prediction, and how many bytes its body may have. A body costs memory and time, so that
nobody sends one to a route that is closed to him, or that has no use for so many bytes. The routes
declare scope and counting themselves, as dependencies, and check them again.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import iter_route_contexts
from starlette.routing import compile_path
from starlette.types import Scope

from anomaly_platform.serving.auth.rate_limits import count_prediction, count_prediction_of
from anomaly_platform.serving.auth.security import Require

_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})

MOST_BYTES: Final = 64 * 2**10
"""Of a body, unless the route is one of those below: what describes one thing is smaller."""

MOST_BYTES_OF: Final = {
    # A thousand values and their times; thousands of long names.
    "/api/v1/ml/predict/batch": 256 * 2**10,
    "/api/v1/anomaly/train": 2**20,
}
"""Of a body, by route."""

BULK: Final = frozenset(
    {
        *("/api/v1/telemetry", "/api/v1/streams/{stream}/telemetry"),
        *("/api/v1/barcode/detect", "/api/v1/scans/{stream}/detect"),
    }
)
"""Routes that take as much as the setting allows."""


@dataclass(frozen=True, slots=True)
class Door:
    """What a route asks.

    Attributes
    ----------
    path : str
        What metrics and logs call the route.
    most_bytes : int
        Of a body.
    scope : Require or None
        What the key needs; None where none is needed.
    predicts : bool
        Whether the request counts as a prediction.
    """

    path: str
    most_bytes: int
    scope: Require | None = None
    predicts: bool = False

    async def pass_through(self, scope: Scope) -> None:
        """Let a request through.

        Raises
        ------
        ApiProblem
            401 or 403 without the key's scope, 429 beyond its limit.
        """
        if self.scope is not None:
            self.scope.of(scope)
        if self.predicts:
            await count_prediction_of(scope)


class Doors:
    """Finds the door of a request.

    Parameters
    ----------
    app : FastAPI
        Its routes are read at the first request.
    most_bytes : int
        Largest body of those routes that take as much as the setting allows.
    """

    def __init__(self, app: FastAPI, most_bytes: int) -> None:
        self._app = app
        self._most_bytes = most_bytes
        self._plain: dict[tuple[str, str], Door] | None = None
        self._patterns: list[tuple[str, re.Pattern[str], Door]] = []

    def find(self, scope: Scope) -> Door | None:
        """Return the door of a request that may have a body; None where there is no such route."""
        if self._plain is None:
            self._plain = self._read()
        path = str(scope["path"]).removeprefix(str(scope.get("root_path", "")))
        method = scope["method"]
        found = self._plain.get((method, path))
        if found is not None:
            return found
        for its_method, pattern, door in self._patterns:
            if its_method == method and pattern.fullmatch(path):
                return door
        return None

    def _read(self) -> dict[tuple[str, str], Door]:
        plain = {}
        for context in iter_route_contexts(self._app.routes):
            path, template = str(context.path), str(context.path_format or context.path)
            limit = MOST_BYTES_OF.get(template, MOST_BYTES)
            if template in BULK:
                limit = self._most_bytes
            calls = list(_dependencies(getattr(context, "dependant", None)))
            scope = next((call for call in calls if isinstance(call, Require)), None)
            door = Door(template, min(limit, self._most_bytes), scope, count_prediction in calls)
            for method in _WITH_BODY & (context.methods or set()):
                if "{" in path:
                    self._patterns.append((method, compile_path(path)[0], door))
                else:
                    plain[method, path] = door
        return plain


def _dependencies(dependant: object) -> Iterator[Any]:
    if isinstance(dependant, Dependant):
        for one in dependant.dependencies:
            yield one.call
            yield from _dependencies(one)
