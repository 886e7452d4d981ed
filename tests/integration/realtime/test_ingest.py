"""Readings taken one by one: once each, under one id, first ones first."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from anomaly_platform.ingest.identity import derived_ids
from anomaly_platform.platform import Platform
from anomaly_platform.realtime.ingest import OnlineIngest
from tests.builders.tables import count
from tests.integration.online_readings import (
    outcomes,
    reading,
    stored,
    take,
)

pytestmark = pytest.mark.integration


def test_a_reading_is_stored_once_with_its_verdict(
    platform: Platform, ingest: OnlineIngest
) -> None:
    (answer,) = take(ingest, reading(0))
    assert answer.outcome == "stored"
    assert answer.reading is not None
    assert answer.reading.status == "insufficient_history"
    assert answer.reading.score is None
    assert answer.reading.is_anomaly is None
    assert stored(platform, answer.reading.event_id) == answer.reading


def test_sent_again_it_is_answered_as_before(platform: Platform, ingest: OnlineIngest) -> None:
    one = reading(0, event_id=uuid4())
    first = take(ingest, one)[0]
    again = take(ingest, one, one)
    assert outcomes(again) == ["repeated", "repeated"]
    assert again[0].reading == first.reading
    assert count(platform.warehouse, "online_readings") == 1


def test_a_retry_that_left_the_time_to_us_is_the_same_reading(
    platform: Platform, ingest: OnlineIngest
) -> None:
    same = uuid4()
    take(ingest, reading(0, event_id=same, has_time=False))
    (again,) = take(ingest, reading(1, event_id=same, has_time=False))
    assert again.outcome == "repeated"
    assert count(platform.warehouse, "online_readings") == 1


def test_another_reading_under_a_known_id_is_a_conflict(
    platform: Platform, ingest: OnlineIngest
) -> None:
    same = uuid4()
    take(ingest, reading(0, event_id=same))
    answers = take(
        ingest,
        reading(0, 2.0, event_id=same),
        reading(1, event_id=same),
        reading(0, device="fan", event_id=same),
        reading(2),
    )
    assert outcomes(answers) == ["conflict", "conflict", "conflict", "stored"]
    assert "event id" in answers[0].reason


def test_an_id_that_was_derived_names_its_reading_also_where_it_is_sent(
    platform: Platform, ingest: OnlineIngest
) -> None:
    derived = [one.reading.event_id for one in take(ingest, reading(0), reading(1)) if one.reading]
    of_next = derived_ids([("pump", "temp")], [reading(2).time])[0]
    answers = take(ingest, reading(0, event_id=derived[0]), reading(2, event_id=of_next))
    assert outcomes(answers) == ["repeated", "stored"]
    assert outcomes(take(ingest, reading(2))) == ["repeated"]
    assert count(platform.warehouse, "online_readings", "NOT id_given") == 3


def test_ids_of_their_own_may_look_as_if_derived(ingest: OnlineIngest) -> None:
    own = UUID("017f22e2-79b0-8cc3-98c4-dc0c0c07398f")
    take(ingest, reading(0))
    assert outcomes(take(ingest, reading(1, event_id=own))) == ["stored"]
    again = take(ingest, reading(1, event_id=own), reading(2, event_id=own), reading(3))
    assert outcomes(again) == ["repeated", "conflict", "stored"]


def test_of_two_values_at_one_time_the_first_counts(
    platform: Platform, ingest: OnlineIngest
) -> None:
    answers = take(ingest, reading(0, 1.0), reading(0, 2.0), reading(0, 1.0), reading(1, 5.0))
    assert outcomes(answers) == ["stored", "conflict", "repeated", "stored"]
    answers = take(ingest, reading(0, 2.0), reading(0, 1.0))
    assert outcomes(answers) == ["conflict", "repeated"]
    assert answers[0].reading == answers[1].reading
    assert count(platform.warehouse, "online_readings") == 2


def test_one_request_repeats_an_id(platform: Platform, ingest: OnlineIngest) -> None:
    same = uuid4()
    answers = take(
        ingest,
        reading(0, event_id=same),
        reading(0, event_id=same),
        reading(1, 3.0, event_id=same),
    )
    assert outcomes(answers) == ["stored", "repeated", "conflict"]
    assert count(platform.warehouse, "online_readings") == 1


def test_a_repeat_of_a_repeat_in_one_request(platform: Platform, ingest: OnlineIngest) -> None:
    same = uuid4()
    answers = take(
        ingest,
        reading(0, event_id=uuid4()),
        reading(0, event_id=same),
        reading(0, event_id=same),
        reading(0, 2.0, event_id=same),
    )
    assert outcomes(answers) == ["stored", "repeated", "repeated", "conflict"]
    assert count(platform.warehouse, "online_readings") == 1
