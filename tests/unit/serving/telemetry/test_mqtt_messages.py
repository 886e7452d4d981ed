"""What MQTT messages say, and under which id a reading without a time is known."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly_platform.ingest.online.readings import RawReading, Refusal
from anomaly_platform.serving.telemetry.mqtt_messages import (
    Message,
    PoisonError,
    delivery_ids,
    readings_of,
)

NOW = datetime(2026, 3, 2, 12, 30, tzinfo=UTC)
PREFIX = "insa/iiot"


def message(payload: bytes, topic: str = "insa/iiot/telemetry/pump/temp") -> Message:
    return Message(topic, payload, 7, redelivered=False, retained=False, received=NOW)


def spelled(document: object) -> bytes:
    return json.dumps(document).encode()


def test_a_number_is_a_reading() -> None:
    (one,) = readings_of(message(b" 12.5 "), PREFIX)
    assert isinstance(one, RawReading)
    assert (one.entity, one.metric, one.value) == ("pump", "temp", 12.5)
    assert one.event_time is None


def test_an_object_may_say_more_and_a_list_several() -> None:
    payload = b'[{"value": 1, "timestamp": 1772452800, "metadata": {"a": 1}}, {"value": 2}]'
    first, second = readings_of(message(payload, "insa/iiot/telemetry/a%2Fb/t"), PREFIX)
    assert isinstance(first, RawReading)
    assert isinstance(second, RawReading)
    assert (first.entity, first.event_time, first.metadata) == ("a/b", "1772452800", {"a": 1})
    assert second.value == 2.0


def test_a_bad_element_of_a_list_stops_no_other() -> None:
    payload = (
        b'[{"value": 1}, {"value": null}, {"value": "warm"}, {"value": 2, "unit": "C"}, "x",'
        b' {"value": 3}]'
    )
    first, *bad, last = readings_of(message(payload), PREFIX)
    assert isinstance(first, RawReading)
    assert isinstance(last, RawReading)
    assert (first.value, last.value) == (1.0, 3.0)
    assert all(isinstance(one, Refusal) and one.reason for one in bad)
    assert isinstance(bad[0], Refusal)
    assert "missing" in bad[0].reason


@pytest.mark.parametrize(
    ("payload", "topic", "reason"),
    [
        (b"warm", "insa/iiot/telemetry/d/m", "no JSON"),
        (b"\xff", "insa/iiot/telemetry/d/m", "no JSON"),
        (b"[" * 100_000, "insa/iiot/telemetry/d/m", "no JSON"),
        (b"[]", "insa/iiot/telemetry/d/m", "0 readings"),
        (b"true", "insa/iiot/telemetry/d/m", "no number"),
        (b'{"timestamp": "now"}', "insa/iiot/telemetry/d/m", "no number"),
        (b'{"value": 1, "unit": "C"}', "insa/iiot/telemetry/d/m", "unit"),
        (b'{"value": 1, "metadata": 3}', "insa/iiot/telemetry/d/m", "metadata"),
        (b'{"value": 1, "event_id": 3}', "insa/iiot/telemetry/d/m", "event_id"),
        (b'{"value": 1, "\\ud800": 2}', "insa/iiot/telemetry/d/m", r"\\ud800"),
        (b'{"value": 1, "value": 2}', "insa/iiot/telemetry/d/m", "twice"),
        (b"1", "insa/iiot/telemetry/%FF/m", "UTF-8"),
        (b"1", "insa/iiot/telemetry/d", "topic"),
        (b"1", "insa/iiot/telemetry/d/m/x", "topic"),
        (b"1", "other/telemetry/d/m", "topic"),
    ],
)
def test_poison_says_what_it_is(payload: bytes, topic: str, reason: str) -> None:
    with pytest.raises(PoisonError, match=reason):
        readings_of(message(payload, topic), PREFIX)


members = st.sampled_from(["value", "timestamp", "event_id", "metadata"])
documents = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(st.characters()),
    lambda some: st.lists(some) | st.dictionaries(st.text(st.characters()) | members, some),
    max_leaves=5,
)


@given(payload=st.binary(max_size=60) | documents.map(spelled))
def test_any_bytes_are_readings_or_poison(payload: bytes) -> None:
    try:
        found = readings_of(message(payload), PREFIX)
    except PoisonError as error:
        # What is wrong has to be written down: what cannot be written raises.
        str(error).encode("utf-8")
        return
    assert all(isinstance(one, Refusal) or isinstance(one.value, float) for one in found)


def test_a_message_delivered_again_is_found_under_its_first_id() -> None:
    first = message(b"1")
    (known,) = delivery_ids(first, 0)
    again = replace(first, redelivered=True, received=NOW + timedelta(hours=5))
    assert known in list(delivery_ids(again, 0))
    assert known not in list(delivery_ids(replace(again, mid=8), 0))
    assert known not in list(delivery_ids(again, 1))
