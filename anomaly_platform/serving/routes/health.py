"""``/health/live``, ``/health/ready`` and ``/api/v1/health``: the routes that need no key."""

from fastapi import APIRouter

from anomaly_platform.serving.http.openapi import problems
from anomaly_platform.serving.problems import ApiProblem
from anomaly_platform.serving.schemas.health import Alive, Health, Ready
from anomaly_platform.serving.state import Serving

router = APIRouter(tags=["operation"])


# Load balancers ask with HEAD.
@router.head("/health/live")
@router.get("/health/live")
async def live() -> Alive:
    """Say that the process answers; whoever gets no answer may restart it."""
    return Alive()


@router.head("/health/ready", responses=problems(503))
@router.get("/health/ready", responses=problems(503))
async def ready(serving: Serving) -> Ready:
    """Say whether requests can be answered; a load balancer waits otherwise.

    A busy worker is ready, and says so: work goes on, and whoever took it out of service would give
    its work to others that are no less busy.
    """
    readiness = await serving.health.readiness()
    if readiness is None:
        raise ApiProblem(
            503,
            "the database does not answer; /api/v1/health says more",
            headers={"Retry-After": "5"},
        )
    return Ready(status=readiness)


@router.head("/api/v1/health", responses=problems(503))
@router.get("/api/v1/health", responses=problems(503))
async def health(serving: Serving) -> Health:
    """Say how each part is doing and what to do about it.

    While the database is down the answer is a problem (503) with the same document as its member
    `health`.
    """
    found = await serving.health.health()
    if found.status == "down":
        raise ApiProblem(503, "the database does not answer", health=found.model_dump(mode="json"))
    return found
