"""Readings taken one by one by several processes, over lost connections and other versions."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import psycopg
import pytest

from anomaly_platform.ingest.online.readings import Reading
from anomaly_platform.ml.scoring.batch import FleetScorer
from anomaly_platform.ml.scoring.call_states import CallStates
from anomaly_platform.ml.scoring.calls import first_state
from anomaly_platform.ml.scoring.online import OnlineScorer
from anomaly_platform.ml.series_model.visited import visited_by
from anomaly_platform.platform import Platform
from anomaly_platform.realtime.append_path import Judge
from anomaly_platform.realtime.ingest import OnlineIngest
from anomaly_platform.storage.lake.call_states import CallStateFiles
from anomaly_platform.storage.postgres.transactions import Connection
from anomaly_platform.storage.tables import online
from anomaly_platform.streams import IIOT
from tests.builders.ingesting import take_in
from tests.builders.tables import count
from tests.integration.online_readings import (
    JUDGE,
    NOW,
    look_back,
    outcomes,
    reading,
    take,
)

pytestmark = pytest.mark.integration


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
    partitions, bundles = platform.warehouse.partitions, platform.warehouse.bundles
    files = CallStateFiles(platform.lake, partitions, bundles, "iiot", None)
    publish = files.own.write("2026-03-01", CallStates(), before=None, watermark=1)
    with platform.warehouse.transactions.begin() as connection:
        publish(connection)
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
