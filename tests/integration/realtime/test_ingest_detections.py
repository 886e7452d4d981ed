"""Readings taken one by one: what is detected, explained and told."""

from __future__ import annotations

from datetime import timedelta

import pytest

from anomaly_platform.platform import Platform
from anomaly_platform.realtime.ingest import OnlineIngest
from tests.builders.tables import count
from tests.integration.online_readings import (
    START,
    reading,
    take,
)

pytestmark = pytest.mark.integration


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
    assert detections == [(detections[0][0], True), ("95 is not usual at 05:05 UTC", False)]


def test_old_events_never_alert(platform: Platform, ingest: OnlineIngest) -> None:
    take(ingest, *[reading(n, 20.0 + (n % 7) * 0.1) for n in range(60)])
    (answer,) = take(ingest, reading(60, 90.0))
    assert answer.reading is not None
    assert answer.reading.is_anomaly
    assert count(platform.warehouse, "anomaly_detections") == 1
    assert count(platform.warehouse, "notifications") == 0


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
