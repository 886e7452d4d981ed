"""Requests are asked for once, served together, and end in words, whatever happens between."""

from __future__ import annotations

import datetime as dt
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from anomaly_platform.registry.training_requests import TrainingRequests
from anomaly_platform.warehouse import Warehouse
from tests.builders.tables import requests_of

pytestmark = pytest.mark.integration


@pytest.fixture
def requests(warehouse: Warehouse) -> TrainingRequests:
    return warehouse.training_requests


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC) + dt.timedelta(seconds=1)


def drift(requests: TrainingRequests, entity: str = "press-1") -> uuid.UUID:
    return requests.ask(
        "iiot", entity=entity, metric="load", cause="drift", reason="psi", requested_by="sensor"
    )


def person(requests: TrainingRequests, window_days: int | None = None) -> uuid.UUID:
    return requests.ask(
        "iiot", window_days=window_days, cause="request", reason="because", requested_by="ann"
    )


def test_a_sensor_that_ticks_twice_asks_once_and_people_are_all_heard(
    requests: TrainingRequests,
) -> None:
    with ThreadPoolExecutor(4) as pool:
        asked = list(pool.map(lambda _: drift(requests), range(8)))
    assert len(set(asked)) == 1
    assert drift(requests, "press-2") not in asked
    assert person(requests) != person(requests)
    assert len(requests.waiting("iiot")) == 4
    found = requests.get(asked[0])
    assert found is not None
    assert (found.subject, found.cause, found.status) == ("iiot press-1 load", "drift", "waiting")
    assert requests.get(uuid.uuid4()) is None


def test_what_waits_is_taken_up_together_and_only_once(requests: TrainingRequests) -> None:
    drift(requests, "press-1")
    drift(requests, "press-2")
    with ThreadPoolExecutor(4) as pool:
        claims = list(pool.map(lambda _: requests.claim("iiot", now()), range(4)))
    (batch,) = [claim for claim in claims if claim]
    assert {one.entity for one in batch} == {"press-1", "press-2"}
    assert len({one.batch for one in batch}) == 1
    # While one is running, the next ones wait, also those that are asked for anew.
    drift(requests, "press-1")
    assert requests.claim("iiot", now()) == []
    assert requests.claim("ems", now()) == []


def test_one_run_trains_on_one_length_of_history(requests: TrainingRequests) -> None:
    long, plain = person(requests, 90), person(requests)
    (first,) = requests.claim("iiot", now())
    assert (first.id, first.window_days) == (long, 90)
    assert first.batch is not None
    assert requests.finish(first.batch, status="done", outcome="promoted") == 1
    (second,) = requests.claim("iiot", now())
    assert second.id == plain


def test_an_end_is_final_and_names_the_bundle(requests: TrainingRequests) -> None:
    asked = person(requests)
    (claimed,) = requests.claim("iiot", now())
    assert claimed.batch is not None
    requests.note_run(claimed.batch, "run-1")
    ended = {"status": "done", "outcome": "promoted: better", "detector": "forest", "version": 7}
    assert requests.finish(claimed.batch, **ended) == 1
    assert requests.finish(claimed.batch, status="failed", outcome="too late") == 0
    found = requests.get(asked)
    assert found is not None
    assert (found.status, found.outcome, found.version, found.run_id) == (
        "done",
        "promoted: better",
        7,
        "run-1",
    )
    assert found.finished_at is not None


def test_a_failed_run_puts_its_requests_back_until_later(requests: TrainingRequests) -> None:
    asked = drift(requests)
    (claimed,) = requests.claim("iiot", now())
    assert claimed.batch is not None
    later = now() + dt.timedelta(minutes=5)
    assert requests.put_back(claimed.batch, outcome="disk full", not_before=later) == 1
    assert requests.claim("iiot", now()) == []
    (again,) = requests.claim("iiot", later)
    assert (again.id, again.attempts, again.outcome) == (asked, 1, "disk full")
    assert again.batch != claimed.batch


def test_a_failed_request_that_was_asked_for_again_is_merged(requests: TrainingRequests) -> None:
    asked = drift(requests)
    (claimed,) = requests.claim("iiot", now())
    newer = drift(requests)
    assert claimed.batch is not None
    assert requests.put_back(claimed.batch, outcome="killed", not_before=now()) == 0
    assert [one.id for one in requests.waiting("iiot")] == [newer]
    merged = requests.get(asked)
    assert merged is not None
    assert merged.status == "cancelled"


def test_what_cannot_be_is_refused(warehouse: Warehouse, requests: TrainingRequests) -> None:
    with pytest.raises(ValueError, match="name the device"):
        requests.ask("iiot", metric="load", cause="request", reason="r", requested_by="ann")
    with pytest.raises(ValueError, match="1 to 3650"):
        person(requests, 0)
    asked = person(requests)
    assert requests.cancel(asked, "changed my mind")
    assert not requests.cancel(asked, "twice")
    assert [one.status for one in requests_of(warehouse, "iiot")] == ["cancelled"]
