"""Readings taken one by one: once each, in the features of the batch, first ones first."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import polars as pl
import psycopg
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as trials
from hypothesis import strategies as st

from anomaly_platform.ingest.identity import derived_ids
from anomaly_platform.ingest.online.readings import Reading
from anomaly_platform.ml.features.metrics.series_state import SeriesState
from anomaly_platform.ml.scoring.batch import FleetScorer
from anomaly_platform.ml.scoring.call_states import CallStates
from anomaly_platform.ml.scoring.calls import first_state
from anomaly_platform.ml.scoring.online import OnlineScorer
from anomaly_platform.ml.series_model.visited import visited_by
from anomaly_platform.platform import Platform
from anomaly_platform.realtime.answers import Answer
from anomaly_platform.realtime.append_path import Judge
from anomaly_platform.realtime.ingest import OnlineIngest
from anomaly_platform.storage.lake.call_states import call_state_files
from anomaly_platform.storage.postgres.transactions import Connection
from anomaly_platform.storage.tables import online
from anomaly_platform.storage.tables.online import StoredReading, by_natural_key
from anomaly_platform.streams import IIOT
from tests.builders.ingesting import take_in
from tests.builders.tables import count

pytestmark = pytest.mark.integration

START = datetime(2026, 3, 2, tzinfo=UTC)
NOW = START + timedelta(days=30)
JUDGE = Judge(
    None, OnlineScorer(FleetScorer.without_models(IIOT.features, alpha=0.001, threshold=0.7)), 0.7
)


def stored(platform: Platform, event_id: UUID) -> StoredReading:
    with platform.warehouse.transactions.begin() as connection:
        entity, metric, time = connection.execute(
            "SELECT entity, metric, (extract(epoch FROM event_time) * 1000000)::bigint "
            "FROM online_readings WHERE stream = 'iiot' AND event_id = %s",
            (event_id,),
        ).fetchall()[0]
        return by_natural_key(connection, "iiot", [(entity, metric, time)])[entity, metric, time]


@pytest.fixture
def ingest(platform: Platform) -> Iterator[OnlineIngest]:
    opened = platform.online_ingest()
    yield opened
    opened.close()


def reading(
    minute: int,
    value: float = 1.0,
    device: str = "pump",
    *,
    event_id: UUID | None = None,
    has_time: bool = True,
) -> Reading:
    time = int((START + timedelta(minutes=5 * minute)).timestamp() * 1e6)
    return Reading(device, "temp", time, value, event_id, has_time=has_time)


def take(ingest: OnlineIngest, *readings: Reading, now: datetime = NOW) -> list[Answer]:
    return take_in(ingest, IIOT, readings, JUDGE, now=now)


def outcomes(answers: Sequence[Answer]) -> list[str]:
    return [answer.outcome for answer in answers]


def look_back(platform: Platform, device: str) -> SeriesState:
    return platform.series_states.look_back(IIOT, device, "temp")


def batch_scores(readings: Sequence[Reading]) -> pl.DataFrame:
    frame = pl.DataFrame(
        {
            "entity": [one.entity for one in readings],
            "metric": [one.metric for one in readings],
            "event_time": [one.time for one in readings],
            "value": [one.value for one in readings],
        },
    ).with_columns(pl.from_epoch("event_time", "us").dt.replace_time_zone("UTC"))
    features = IIOT.features.compute(frame.sort("entity", "metric", "event_time"))
    return FleetScorer.without_models(IIOT.features, alpha=0.001, threshold=0.7).score(features)


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


def test_an_anomaly_is_detected_and_told_once_per_device(
    platform: Platform, ingest: OnlineIngest
) -> None:
    quiet = [reading(n, 20.0 + (n % 7) * 0.1) for n in range(60)]
    take(ingest, *quiet)
    late = START + timedelta(minutes=5 * 61)
    answers = take(ingest, reading(60, 90.0), reading(61, 95.0), now=late)
    flagged = [one.reading for one in answers if one.reading and one.reading.is_anomaly]
    assert flagged
    with platform.warehouse.transactions.begin() as connection:
        detections = connection.execute(
            "SELECT event_id, source, score, anomaly_score, confidence, bundle_version "
            "FROM anomaly_detections ORDER BY timestamp"
        ).fetchall()
        told = connection.execute("SELECT kind, body FROM notifications").fetchall()
    assert [row[0] for row in detections] == [one.event_id for one in flagged]
    assert {row[1] for row in detections} == {"realtime"}
    assert detections[0][2] == flagged[0].score
    assert detections[0][3] == -detections[0][4] < 0
    assert len(told) == 1


def test_of_many_anomalies_in_a_request_the_first_are_explained(
    platform: Platform, ingest: OnlineIngest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anomaly_platform.realtime.append_path.MOST_EXPLAINED", 1)
    take(ingest, *[reading(n, 20.0 + (n % 7) * 0.1) for n in range(60)])
    take(ingest, reading(60, 90.0), reading(61, 95.0))
    with platform.warehouse.transactions.begin() as connection:
        detections = connection.execute(
            "SELECT metadata ->> 'reason', metadata ? 'expected_low' FROM anomaly_detections "
            "ORDER BY timestamp"
        ).fetchall()
    assert detections[0][0].startswith("90, expected")
    assert detections == [(detections[0][0], True), ("95 is not usual at 05:05", False)]


def test_old_events_never_alert(platform: Platform, ingest: OnlineIngest) -> None:
    take(ingest, *[reading(n, 20.0 + (n % 7) * 0.1) for n in range(60)])
    (answer,) = take(ingest, reading(60, 90.0))
    assert answer.reading is not None
    assert answer.reading.is_anomaly
    assert count(platform.warehouse, "anomaly_detections") == 1
    assert count(platform.warehouse, "notifications") == 0


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


def test_two_processes_write_one_series(platform: Platform) -> None:
    """Each has the state in memory, and neither's is right for long."""
    sent = [[reading(2 * n + k, float(n)) for n in range(100)] for k in (0, 1)]
    failures: list[BaseException] = []

    def send(part: list[Reading]) -> None:
        mine = platform.online_ingest()
        try:
            for one in part:
                take(mine, one, reading(1000, 7.0, "shared"))
        except BaseException as error:
            failures.append(error)
        finally:
            mine.close()

    threads = [threading.Thread(target=send, args=(part,)) for part in sent]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert count(platform.warehouse, "online_readings") == 201
    state = look_back(platform, "pump")
    assert state.times.size == 200


def test_what_another_process_wrote_is_seen(platform: Platform, ingest: OnlineIngest) -> None:
    take(ingest, reading(0), reading(0, device="other"))
    take(ingest, reading(1), reading(1, device="other"))
    second = platform.online_ingest()
    take(second, reading(5, 5.0))
    answers = take(ingest, reading(5, 6.0), reading(4, 4.0), reading(2, device="other"))
    assert outcomes(answers) == ["conflict", "stored", "stored"]
    assert answers[1].reading is not None
    assert answers[1].reading.provisional
    assert outcomes(take(second, reading(6), reading(4, 4.0))) == ["stored", "repeated"]
    second.close()
    assert look_back(platform, "pump").values.tolist() == [
        1.0,
        1.0,
        4.0,
        5.0,
        1.0,
    ]


def test_a_connection_lost_between_requests_costs_none(
    platform: Platform, ingest: OnlineIngest
) -> None:
    take(ingest, reading(0))
    with platform.warehouse.transactions.begin() as connection:
        # Waits until they have ended.
        connection.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
            "WHERE application_name = 'anomaly_ingest' AND datname = current_database()"
        )
    assert outcomes(take(ingest, reading(1), reading(0))) == ["stored", "repeated"]


def test_a_connection_lost_in_a_request_costs_that_one(
    platform: Platform, ingest: OnlineIngest
) -> None:
    take(ingest, reading(0))
    with platform.warehouse.transactions.begin() as connection:
        connection.execute("SELECT FROM series_heads FOR UPDATE")
        failing: list[BaseException] = []

        def send() -> None:
            try:
                take(ingest, reading(1))
            except psycopg.OperationalError as error:
                failing.append(error)

        sending = threading.Thread(target=send)
        sending.start()
        ended = None
        while not ended:
            ended = connection.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
                "WHERE application_name = 'anomaly_ingest' AND datname = current_database() "
                "AND wait_event_type = 'Lock'"
            ).fetchone()
        sending.join(30)
    assert len(failing) == 1
    assert outcomes(take(ingest, reading(1), reading(0))) == ["stored", "repeated"]


def test_states_of_other_features_are_made_anew(platform: Platform, ingest: OnlineIngest) -> None:
    take(ingest, *[reading(n, float(n)) for n in range(10)])
    with platform.warehouse.transactions.begin() as connection:
        connection.execute("UPDATE series_state SET feature_version = 'other'")
        connection.execute("UPDATE series_heads SET revision = 99")
    take(ingest, reading(10, 10.0))
    state = look_back(platform, "pump")
    assert state.values.tolist() == [float(n) for n in range(11)]


def test_series_are_locked_again_only_once_a_version_has_left_its_states(
    platform: Platform, ingest: OnlineIngest, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked: list[Sequence[int]] = []
    lock_states = online.lock_states

    def count_locks(connection: Connection, ids: Sequence[int], known: Sequence[int]) -> Any:
        locked.append(ids)
        return lock_states(connection, ids, known)

    monkeypatch.setattr(online, "lock_states", count_locks)
    for n in range(3):
        take(ingest, reading(n))
    assert len(locked) == 1
    files = call_state_files(platform.lake, platform.warehouse.partitions, "iiot", None)
    files.keep("2026-03-01", CallStates(), before=None, watermark=1)
    for n in range(3, 6):
        take(ingest, reading(n))
    assert len(locked) == 2


def test_a_judge_of_the_same_version_begins_with_what_it_knows_itself(
    ingest: OnlineIngest, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = FleetScorer.without_models(IIOT.features, alpha=0.001, threshold=0.7)
    scorer = OnlineScorer(models)
    visited = visited_by(20.0 + np.arange(2_000) % 7 * 0.1)
    monkeypatch.setattr(scorer, "first_calls", lambda _: first_state(visited))
    knowing = Judge(None, scorer, 0.7)
    calls = []
    for n, judge in enumerate((knowing, JUDGE, knowing)):
        (answer,) = take_in(ingest, IIOT, [reading(n, 90.0)], judge, now=NOW)
        assert answer.reading is not None
        calls.append(bool(answer.reading.is_call))
    assert calls == [True, False, True]


def test_a_threshold_of_ones_own_decides(platform: Platform, ingest: OnlineIngest) -> None:
    take(ingest, *[reading(n, 20.0 + (n % 7) * 0.1) for n in range(60)])
    with platform.warehouse.transactions.begin() as connection:
        connection.execute(
            "INSERT INTO thresholds (stream, entity, metric, threshold, origin, set_by) "
            "VALUES ('iiot', 'pump', 'temp', 0.05, 'person', 'me')"
        )
    (answer,) = take(ingest, reading(60, 21.5))
    assert answer.reading is not None
    assert answer.reading.threshold == 0.05
    assert answer.reading.score is not None
    assert answer.reading.score < 0.7
    assert answer.reading.is_anomaly
    with platform.warehouse.transactions.begin() as connection:
        connection.execute("DELETE FROM thresholds")
    (answer,) = take(ingest, reading(61, 21.5))
    assert answer.reading is not None
    assert answer.reading.threshold == 0.7
    assert not answer.reading.is_anomaly
