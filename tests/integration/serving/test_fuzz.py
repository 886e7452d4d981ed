"""Whatever is sent: no error of the service, and no answer that the OpenAPI document lacks."""

from __future__ import annotations

import contextlib
import os
import random
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as trials
from hypothesis.errors import Unsatisfiable
from schemathesis import Case
from schemathesis.checks import CHECKS
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import ignored_auth

from anomaly_platform.platform import Platform
from anomaly_platform.serving.app import create_app
from anomaly_platform.storage.tables.api_keys import SCOPES

pytestmark = pytest.mark.integration

#: Of the long trial. Read before the tests' own fixture clears the environment.
REQUESTS = int(os.environ.get("ANOMALY_STRESS_REQUESTS", "100000"))
#: The routes are shared out among so many tests, which run side by side.
SHARES = 4
#: Names that exist, so that requests get beyond the first question; no other test looks at them.
KNOWN = {
    "device_id": "press-9",
    "metric_name": "temperature",
    "asset_id": "host-3",
    "stream": "iiot",
    "entity": "press-9",
    "timestamp": "2026-01-09T10:00:00Z",
    "hours": 24,
}
#: A cursor, an Idempotency-Key or two members that exclude each other cannot be told by a schema
#: alone: such a request is valid for the document, and rightly refused.
ALSO_RIGHT = ["2xx", "401", "403", "404", "409", "422", "429", "503"]
#: What may be said of an invalid one: schemathesis makes bodies that are too large as well.
REFUSED = ["400", "401", "403", "404", "405", "406", "409", "413", "415", "422", "429", "5xx"]


@pytest.fixture(scope="module")
def key(trained_platform: Platform) -> str:
    _, made = trained_platform.warehouse.api_keys.create(
        "fuzz", SCOPES, created_by="tests", predictions_per_minute=0
    )
    return made


@pytest.fixture(scope="module")
def schema(trained_platform: Platform, key: str) -> Any:
    config = schemathesis.Config.from_dict(
        {
            "checks": {
                "positive_data_acceptance": {"expected-statuses": ALSO_RIGHT},
                "negative_data_rejection": {"expected-statuses": REFUSED},
            }
        }
    )
    return schemathesis.openapi.from_asgi(
        "/openapi.json",
        create_app(trained_platform),
        config=config,
        headers={"Authorization": f"Bearer {key}"},
    )


def operations(schema: Any) -> list[Any]:
    found = [result.ok() for result in schema.get_all_operations()]
    # A key that deletes itself would end the trial.
    return [one for one in found if not one.path.startswith("/api/v1/keys")]


def attempt(operation: Any, headers: dict[str, str], cases: int) -> int:
    """Send that many requests to a route, valid and invalid ones, and check each answer."""
    sent = 0

    def send(case: Case) -> None:
        nonlocal sent
        sent += 1
        if case.meta is not None and case.meta.generation.mode is GenerationMode.POSITIVE:
            make_known(case)
        if "Prefer" in (case.headers or {}):
            # No training ends here: to wait for one is to wait for the client's patience to end.
            case.headers["Prefer"] = "wait=0"
        # What is asked for the first time may have to be compiled, which takes its time.
        case.call_and_validate(headers=headers, excluded_checks=[ignored_auth], timeout=60)

    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
        strategy = operation.as_strategy(generation_mode=mode)
        trial = trials(
            max_examples=max(1, cases // 2),
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )(given(strategy)(send))
        # A route that takes nothing has nothing that could be wrong.
        with contextlib.suppress(Unsatisfiable):
            trial()
    return sent


def make_known(case: Case) -> None:
    """Put names that exist into some of the places; the same case always gets the same ones."""
    chance = random.Random(repr((case.body, case.query, case.path_parameters)))
    for part in (case.body, case.query, case.path_parameters):
        if isinstance(part, dict):
            for name, value in KNOWN.items():
                if name in part and chance.random() < 0.7:
                    part[name] = value


def fuzz(routes: list[Any], headers: dict[str, str], cases: int) -> int:
    problems, sent = [], 0
    for operation in routes:
        try:
            sent += attempt(operation, headers, cases)
        except (Exception, BaseExceptionGroup) as error:
            # Every route is tried, then all are told.
            inner = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
            told = "; ".join(str(one) for one in (error, *inner))
            problems.append(f"{operation.label}: {type(error).__name__}: {told}")
    assert not problems, "\n\n".join(problems)
    return sent


@pytest.mark.parametrize("share", range(SHARES))
def test_dozens_of_requests_to_every_route(schema: Any, key: str, share: int) -> None:
    assert len(CHECKS.get_all()) >= 9
    some = operations(schema)[share::SHARES]
    # A route without parameters or a body has few requests that differ.
    assert fuzz(some, {"Authorization": f"Bearer {key}"}, 60) > 30 * len(some)


def test_without_a_key_only_health_answers(schema: Any) -> None:
    for operation in operations(schema):
        names = [one.name for one in operation.path_parameters]
        case = operation.Case(path_parameters=dict.fromkeys(names, "x"))
        is_public = "health" in operation.path
        assert (case.call().status_code == 401) is not is_public, operation.label


@pytest.mark.stress
@pytest.mark.timeout(14_400)
def test_requests_without_end(schema: Any, key: str) -> None:
    routes = operations(schema)
    # Some are fewer than asked for: a route without parameters has few requests that differ.
    sent = fuzz(routes, {"Authorization": f"Bearer {key}"}, 2 * REQUESTS // len(routes))
    print(f"{sent} requests to {len(routes)} routes")  # noqa: T201 - the note quotes it
    assert sent >= REQUESTS
