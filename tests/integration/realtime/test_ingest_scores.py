"""Readings taken one by one: states and scores are those of the batch."""

from __future__ import annotations

import random
from uuid import uuid4

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as trials
from hypothesis import strategies as st

from anomaly_platform.ingest.online.readings import Reading
from anomaly_platform.ml.features.metrics.series_state import SeriesState
from anomaly_platform.platform import Platform
from anomaly_platform.realtime.ingest import OnlineIngest
from anomaly_platform.streams import IIOT
from tests.builders.tables import count
from tests.integration.online_readings import (
    batch_scores,
    look_back,
    outcomes,
    reading,
    stored,
    take,
)

pytestmark = pytest.mark.integration


@trials(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_readings_in_any_order_leave_the_state_of_the_batch(
    platform: Platform, data: st.DataObject
) -> None:
    """Late ones, repeats and contradictions: the state is what the batch would look back on."""
    device = uuid4().hex
    seed = data.draw(st.integers(0, 2**32 - 1))
    draw = random.Random(seed)
    minutes = sorted(draw.sample(range(700), draw.choice([5, 40, 330])))
    true = {minute: float(draw.randint(0, 50)) for minute in minutes}
    sent = [reading(minute, value, device) for minute, value in true.items()]
    for place in range(len(sent)):
        if draw.random() < 0.15:
            other = min(len(sent) - 1, place + draw.randint(1, 12))
            sent[place], sent[other] = sent[other], sent[place]
    sent += [draw.choice(sent) for _ in range(len(sent) // 6)]
    for _ in range(len(sent) // 8):
        earlier = draw.randrange(len(sent))
        wrong = reading(0, -1.0, device)
        wrong = Reading(device, "temp", sent[earlier].time, -1.0)
        sent.insert(draw.randrange(earlier + 1, len(sent) + 1), wrong)
    first: dict[int, float] = {}
    for one in sent:
        first.setdefault(one.time, one.value)
    several = [platform.online_ingest(), platform.online_ingest()]
    at = 0
    while at < len(sent):
        size = draw.choice([1, 3, 20, 60])
        part = sent[at : at + size]
        answers = take(draw.choice(several), *part)
        for one, answer in zip(part, answers, strict=True):
            kept = first[one.time] == one.value
            assert (answer.outcome == "conflict") == (not kept)
        at += size
    for one_of in several:
        one_of.close()
    expected = SeriesState.of(
        IIOT.features,
        np.array(sorted(first), dtype=np.int64),
        np.array([first[time] for time in sorted(first)]),
    )
    state = look_back(platform, device)
    np.testing.assert_array_equal(state.times, expected.times)
    np.testing.assert_array_equal(state.values, expected.values)


def test_in_order_readings_get_the_scores_of_the_batch(
    platform: Platform, ingest: OnlineIngest
) -> None:
    rng = np.random.default_rng(3)
    sent = [
        reading(n, float(v), device)
        for device in ("a", "b")
        for n, v in enumerate(rng.normal(20, 1, 400))
    ]
    sent.sort(key=lambda one: one.time)
    stored = []
    at = 0
    while at < len(sent):
        size = int(rng.choice([1, 2, 50, 7]))
        stored += [answer.reading for answer in take(ingest, *sent[at : at + size])]
        at += size
    stored.sort(key=lambda one: (one.entity, one.event_time))  # type: ignore[union-attr]
    expected = batch_scores(sent)
    assert [one.score for one in stored if one] == expected["score"].to_list()
    assert [one.p_value for one in stored if one] == expected["p_value"].to_list()
    assert [one.is_anomaly for one in stored if one] == expected["is_anomaly"].to_list()
    assert not any(one.provisional for one in stored if one)


def test_writers_who_take_turns_give_the_scores_of_the_batch(platform: Platform) -> None:
    """What one of them has in memory is out of date whenever another was at it."""
    rng = np.random.default_rng(4)
    values = rng.normal(20, 1, (3, 150))
    sent = [
        reading(n, float(values[k, n]), device)
        for n in range(150)
        for k, device in enumerate(("a", "b", "c"))
    ]
    writers = [platform.online_ingest() for _ in range(3)]
    stored, at = [], 0
    while at < len(sent):
        size = int(rng.choice([1, 3, 20, 70]))
        writer = writers[int(rng.integers(3))]
        stored += [answer.reading for answer in take(writer, *sent[at : at + size])]
        at += size
    for writer in writers:
        writer.close()
    stored.sort(key=lambda one: (one.entity, one.event_time))  # type: ignore[union-attr]
    expected = batch_scores(sent)
    assert [one.score for one in stored if one] == expected["score"].to_list()
    assert count(platform.warehouse, "online_readings") == len(sent)
    assert count(platform.warehouse, "series_heads") == 3


def test_what_is_taken_in_one_statement_is_read_back(
    platform: Platform, ingest: OnlineIngest
) -> None:
    """Ids of the sender's, metadata, several readings of one series, out of order."""
    take(ingest, reading(0), reading(0, device="fan"))
    take(ingest, reading(1), reading(1, device="fan"))
    mine = Reading("fan", "temp", reading(3).time, 5.0, uuid4(), '{"line":3}')
    answers = take(ingest, reading(4, 4.0), mine, reading(2, 2.0), reading(2, 3.0, "fan"))
    assert outcomes(answers) == ["stored"] * 4
    for answer in answers:
        assert answer.reading is not None
        found = stored(platform, answer.reading.event_id)
        assert found == answer.reading
    assert look_back(platform, "pump").values.tolist() == [
        1.0,
        1.0,
        2.0,
        4.0,
    ]
    assert look_back(platform, "fan").values.tolist() == [
        1.0,
        1.0,
        3.0,
        5.0,
    ]


def test_a_late_reading_is_provisional(ingest: OnlineIngest) -> None:
    take(ingest, reading(0), reading(2))
    (late,) = take(ingest, reading(1))
    assert late.reading is not None
    assert late.reading.provisional
