"""Refuses query parameters that a route does not know, or that are sent twice."""

from collections import Counter
from typing import Final

from fastapi import Depends, Request
from fastapi.dependencies.models import Dependant

from anomaly_platform.serving.problems import ApiProblem


async def refuse_strange_query(request: Request) -> None:
    """Refuse a request with a parameter that the route does not know, or has twice."""
    if not request.url.query:
        return
    dependant = getattr(request.scope.get("route"), "dependant", None)
    known = _names(dependant) if isinstance(dependant, Dependant) else set()
    for name, times in Counter(name for name, _ in request.query_params.multi_items()).items():
        if name not in known:
            shown = ", ".join(sorted(known)) or "none"
            raise ApiProblem(422, f"query: there is no such parameter; there are {shown}")
        if times > 1:
            raise ApiProblem(422, f"query.{name}: send it once, not {times} times")


def _names(dependant: Dependant) -> set[str]:
    own = {field.alias for field in dependant.query_params}
    return own.union(*(_names(one) for one in dependant.dependencies))


STRICT_QUERY: Final = Depends(refuse_strange_query)
"""Dependency of the routers whose routes have query parameters."""
