"""Which runs the sensors ask for, and when they hold back."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from dagster import RunRequest

from anomaly_platform.assets.partitions import RANGE_END_TAG, RANGE_START_TAG
from anomaly_platform.sensors.landing import due_runs
from anomaly_platform.sensors.work import RecentWork, reason_to_wait, wait_after
from anomaly_platform.streams import EMS
from anomaly_platform.streams.staleness import DayState, StreamState

JAN = [date(2026, 1, n) for n in range(1, 10)]


def stages(request: RunRequest) -> set[str]:
    return {key.path[-1] for key in request.asset_selection or []}


def span(request: RunRequest) -> tuple[str, str]:
    return request.tags[RANGE_START_TAG], request.tags[RANGE_END_TAG]


def test_nothing_is_due_on_an_idle_stream() -> None:
    assert list(due_runs(EMS, StreamState())) == []
    fresh = [DayState(day, 1, 1, 1, 1) for day in JAN]
    assert list(due_runs(EMS, StreamState(fresh, champion=1))) == []


def test_new_days_come_as_one_run_per_span_scored_at_once_when_a_champion_serves() -> None:
    days = [DayState(JAN[0], 1), DayState(JAN[1], 1), DayState(JAN[5], 1)]
    runs = list(due_runs(EMS, StreamState(days, champion=3)))
    assert [span(run) for run in runs] == [
        ("2026-01-01", "2026-01-02"),
        ("2026-01-06", "2026-01-06"),
    ]
    assert stages(runs[0]) == {
        "validated_events",
        "quarantine",
        "features",
        "scored_events",
        "monitoring_stats",
    }


def test_without_a_champion_features_come_first_then_the_model_then_scores() -> None:
    many = [DayState(day, 1) for day in JAN[:4]]
    first = StreamState(many, trainable_series=0)
    assert stages(next(due_runs(EMS, first))) == {"validated_events", "quarantine", "features"}
    # Of a few days somebody waits for the scores, which need no model.
    few = StreamState(many[:3], trainable_series=0)
    assert {"features", "scored_events"} < stages(next(due_runs(EMS, few)))
    ready = StreamState([DayState(JAN[0], 1, 1)], trainable_series=2)
    assert stages(next(due_runs(EMS, ready))) == {"isolation_forest_model", "champion"}
    short = StreamState([DayState(JAN[0], 1, 1)], trainable_series=0)
    assert stages(next(due_runs(EMS, short))) == {"scored_events", "monitoring_stats"}


def test_every_request_says_why() -> None:
    (run,) = due_runs(EMS, StreamState([DayState(JAN[0], 1)], champion=1))
    assert run.tags["anomaly/stream"] == "ems"
    assert run.tags["anomaly/reason"] == "new data"


@pytest.mark.parametrize(("failures", "seconds"), [(0, 0), (1, 15), (2, 30), (7, 900), (99, 900)])
def test_failures_wait_longer_and_longer(failures: int, seconds: int) -> None:
    assert wait_after(failures) == timedelta(seconds=seconds)


def test_holds_back_while_a_run_is_under_way_and_after_failures() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert reason_to_wait(RecentWork(True, 0, None), now) == "a run is under way"
    assert reason_to_wait(RecentWork(False, 0, now), now) is None
    assert reason_to_wait(RecentWork(False, 2, now - timedelta(seconds=29)), now) is not None
    assert reason_to_wait(RecentWork(False, 2, now - timedelta(seconds=31)), now) is None
